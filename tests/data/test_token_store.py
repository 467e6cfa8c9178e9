"""Token stores: the tokens of the whole texts, built once, whole or not there, read anywhere."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.word_texts import PIECES, dataset, sentences, tokenizer
from tlearn.data import (
    DataError,
    FileCorpus,
    HeldOut,
    JoinedCorpus,
    TextCorpus,
    Tokenizer,
    WithoutHeldOut,
    build_store,
    split_store,
)
from tlearn.data import train_tokenizer as train
from tlearn.data.spliced import Spliced


def corpus(folder, count=30, name="a.jsonl"):
    """Documents of one to four sentences."""
    texts = sentences(4 * count, longest=12)
    lines = [". The ".join(texts[i : i + 1 + i % 4]) for i in range(count)]
    file = folder / name
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    return FileCorpus(file, "jsonl")


def same(one, other):
    for name in ("tokens", "starts", "sentences", "word_starts"):
        np.testing.assert_array_equal(getattr(one, name)[:], getattr(other, name)[:])
    assert list(one.ids) == list(other.ids)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "word"])
def test_tokens_are_those_of_the_whole_texts(tmp_path, kind):
    texts = corpus(tmp_path)
    made = train(texts, kind, 400)
    store = build_store(texts, made, tmp_path / "stores")
    backend = made.backend()
    for index, document in enumerate(texts):
        whole = backend.encode(document.text, add_special_tokens=False).ids
        assert store.document(index).tolist() == whole
        assert store.ids[index] == document.id
    assert store.tokens.dtype == np.uint16
    assert store.document(0).dtype == np.int32
    assert store.vocab_size == made.size
    assert dict(store.special) == dict(made.special)
    assert (store.word_starts is None) == (kind == "word")
    assert not np.isin(store.tokens[:], list(store.special.values())).any()


def test_where_documents_sentences_and_words_begin(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("The cats sat. A dog ran.\na bird saw\nunseen, not [SEP] old\n")
    pieces = Tokenizer.from_files({"vocab.txt": "\n".join([*PIECES, "[", "]"]).encode()})
    store = build_store(FileCorpus(file, "text"), pieces, tmp_path)
    spelt = np.array([*PIECES, "[", "]"])[store.document(0)]
    assert " ".join(spelt) == ("the cat ##s sat . a dog ran . a bird saw [UNK] , not [ [UNK] ] old")
    assert store.sentences[:].tolist() == [0, 5, 9, 12]
    assert np.flatnonzero(~store.word_starts[:]).tolist() == [2]
    lines = build_store(FileCorpus(file, "lines"), pieces, tmp_path)
    assert lines.starts[:].tolist() == [0, 9, 12, 19]
    assert lines.sentences[:].tolist() == [0, 5, 9, 12]


def test_byte_pairs_begin_words_at_spaces_and_other_signs(tmp_path):
    text = "A house, and (old) houses.\nnew 12houses don't"
    file = tmp_path / "a.txt"
    file.write_text(text)
    made = train(FileCorpus(file, "text"), "bpe", 290, lowercase=False)
    store = build_store(FileCorpus(file, "text"), made, tmp_path)
    spelt = [made.decode([int(token)]) for token in store.document(0)]
    words, marks = [], store.word_starts[:]
    for piece, begins in zip(spelt, marks, strict=True):
        words = [*words, piece] if begins else [*words[:-1], words[-1] + piece]
    assert [word.strip() for word in words if word.strip()] == (
        "A house , and ( old ) houses . new 12 houses don 't".split()
    )


def test_shards_are_one_array(tmp_path):
    texts = corpus(tmp_path)
    one = build_store(texts, tokenizer(), tmp_path / "one")
    many = build_store(texts, tokenizer(), tmp_path / "many", shard=50)
    assert many.folder is not None
    files = sorted(many.folder.glob("tokens-*.bin"))
    assert len(files) == -(-len(one.tokens) // 50)
    assert all(file.stat().st_size == 100 for file in files[:-1])
    same(one, many)
    whole = np.asarray(one.tokens)
    rng = np.random.default_rng(0)
    for _ in range(20):
        begin, end = sorted(rng.integers(0, len(whole) + 1, 2).tolist())
        np.testing.assert_array_equal(many.tokens[begin:end], whole[begin:end])
        places = rng.integers(-len(whole), len(whole), (3, 5))
        np.testing.assert_array_equal(many.tokens[places], whole[places])
    np.testing.assert_array_equal(many.tokens[5:90:7], whole[5:90:7])
    np.testing.assert_array_equal(many.tokens[whole > 9], whole[whole > 9])
    assert many.tokens[len(whole) - 1] == whole[-1]
    with pytest.raises(IndexError):
        many.tokens[len(whole)]


def test_spliced_pieces_without_length():
    array = Spliced([np.arange(10)], np.array([4, 0, 7]), np.array([2, 0, 3]))
    np.testing.assert_array_equal(array[:], [4, 5, 7, 8, 9])
    np.testing.assert_array_equal(array[np.arange(5)], [4, 5, 7, 8, 9])
    assert array[2] == 7
    assert len(array[3:3]) == 0


def test_a_part_is_a_store_of_its_own(tmp_path):
    store = build_store(corpus(tmp_path), tokenizer(), tmp_path / "stores", shard=64)
    chosen = np.array([7, 2, 3, 29, 0])
    part = store.part(chosen)
    assert list(part.ids) == [store.ids[i] for i in chosen]
    for place, index in enumerate(chosen):
        np.testing.assert_array_equal(part.document(place), store.document(index))
    expected = np.concatenate([store.document(i) for i in chosen])
    np.testing.assert_array_equal(part.tokens[:], expected)
    begins = set(store.sentences[:].tolist())
    places = np.concatenate([np.arange(store.starts[i], store.starts[i + 1]) for i in chosen])
    np.testing.assert_array_equal(
        part.sentences[:], [j for j, place in enumerate(places) if place in begins]
    )
    np.testing.assert_array_equal(part.word_starts[:], store.word_starts[places])
    again = part.part(np.array([3, 1]))
    np.testing.assert_array_equal(again.document(0), store.document(29))
    np.testing.assert_array_equal(again.sentences[:][0], 0)
    assert len({store.digest, part.digest, again.digest}) == 3
    assert store.part(chosen).digest == part.digest
    for wrong in ([], [30], [-1]):
        with pytest.raises(DataError, match="expected at least one, from 0 to 29"):
            store.part(np.array(wrong, np.int64))


def test_a_store_keeps_how_many_documents_were_held_out_of_it(tmp_path):
    (tmp_path / "a.txt").write_text("a red cat sat\nthe old dog\na new house\na red tree ran\n")
    texts = FileCorpus(tmp_path / "a.txt", "lines")
    held = WithoutHeldOut(texts, HeldOut(["A red cat sat", "the old dog", "nowhere"]))
    both = JoinedCorpus([held, texts, WithoutHeldOut(texts, HeldOut(["a new house"]))])
    for documents, count in ((texts, None), (held, 2), (both, 3)):
        built, again = (build_store(documents, tokenizer(), tmp_path / "stores") for _ in "12")
        assert (again.origin, built.left_out, again.left_out) == ("reopened", count, count)
        assert again.part(np.array([0])).left_out is None
    # A store of an earlier version says nothing of it.
    meta = json.loads((again.folder / "meta.json").read_text())
    del meta["left_out"]
    (again.folder / "meta.json").write_text(json.dumps(meta))
    assert build_store(both, tokenizer(), tmp_path / "stores").left_out is None


def test_a_store_travels_to_another_process_without_its_tokens(tmp_path):
    store = build_store(corpus(tmp_path, 300), tokenizer(), tmp_path / "stores", shard=1000)
    packed = pickle.dumps(store)
    assert len(packed) < 4000 < 2 * len(store.tokens)
    same(pickle.loads(packed), store)
    part = store.part(np.array([1, 5]))
    same(pickle.loads(pickle.dumps(part)), part)
    # A slice is sent as numbers.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store.starts[3:9])), store.starts[3:9])


def test_splitting_by_documents(tmp_path):
    store = build_store(corpus(tmp_path, 200), tokenizer(), tmp_path / "stores")
    training, validation = split_store(store, 0.1, seed=0)
    assert sorted([*training.ids, *validation.ids]) == sorted(store.ids)
    assert len(validation.tokens) / len(store.tokens) == pytest.approx(0.1, abs=0.02)
    again = split_store(store, 0.1, seed=0)
    assert again[1].digest == validation.digest != split_store(store, 0.1, seed=1)[1].digest
    small, _ = split_store(store.part(np.array([0, 1])), 0.99, seed=0)
    assert len(small) == 1
    with pytest.raises(DataError, match="has one document"):
        split_store(store.part(np.array([0])), 0.1, seed=0)
    with pytest.raises(DataError, match="share of 1"):
        split_store(store, 1.0, seed=0)


def test_built_once_and_anew_when_a_file_changes(tmp_path):
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text("the cat sat")
    texts, calls = FileCorpus(tmp_path / "texts", "text"), []
    first = build_store(
        texts, tokenizer(), tmp_path / "stores", progress=lambda done, _: calls.append(done)
    )
    assert (first.origin, calls) == ("built", [1, 2])
    again = build_store(
        texts, tokenizer(), tmp_path / "stores", progress=lambda done, _: calls.append(done)
    )
    assert (again.origin, calls) == ("reopened", [1, 2])
    same(first, again)
    (tmp_path / "texts" / "b.txt").write_text("the dog ran")
    changed = build_store(texts, tokenizer(), tmp_path / "stores")
    assert changed.origin == "rebuilt: b.txt has changed"
    assert changed.digest != first.digest
    assert changed.document(1).tolist() != first.document(1).tolist()
    (tmp_path / "texts" / "b.txt").rename(tmp_path / "texts" / "c.txt")
    moved_texts = FileCorpus(tmp_path / "texts", "text")
    moved = build_store(moved_texts, tokenizer(), tmp_path / "stores")
    assert moved.origin == "rebuilt: c.txt is new, b.txt is gone"
    # Another tokenizer makes another store of the same texts, and nothing has changed.
    with pytest.raises(DataError, match=r"b\.txt: is gone"):
        build_store(texts, tokenizer(), tmp_path / "stores")
    other = train(moved_texts, "word", 20)
    assert (
        build_store(FileCorpus(tmp_path / "texts", "text"), other, tmp_path / "stores").origin
        == "built"
    )
    # What was there before opens again when the file is as it was.
    (tmp_path / "texts" / "c.txt").rename(tmp_path / "texts" / "b.txt")
    (tmp_path / "texts" / "b.txt").write_text("the cat sat")
    back = build_store(FileCorpus(tmp_path / "texts", "text"), tokenizer(), tmp_path / "stores")
    assert (back.origin, back.digest) == ("reopened", first.digest)


class Changing(TextCorpus):
    """A corpus that somebody writes to while it is read."""

    reads = 0

    @property
    def digest(self):
        self.reads += 1
        return str(self.reads)

    @property
    def parts(self):
        return {"a.txt": str(self.reads)}


def test_a_corpus_that_changes_while_it_is_read_leaves_no_store(tmp_path):
    with pytest.raises(DataError, match=r"changed while its tokens were made \(a\.txt\)"):
        build_store(Changing(dataset(3)), tokenizer(), tmp_path / "stores")
    assert not list((tmp_path / "stores").iterdir())


def test_empty_documents_are_counted_and_an_empty_corpus_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "a cat"}\n{"text": " \\n "}\n')
    store = build_store(FileCorpus(tmp_path / "a.jsonl", "jsonl"), tokenizer(), tmp_path)
    assert (len(store), store.empty, list(store.ids)) == (1, 2, ["a.jsonl:2"])
    assert "2 empty ones left out" in str(store)
    (tmp_path / "b.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"b\.txt: holds no text: 0 documents"):
        build_store(FileCorpus(tmp_path / "b.txt", "lines"), tokenizer(), tmp_path)
    (tmp_path / "c.txt").write_bytes(b"a cat\n\xff\n")
    with pytest.raises(DataError, match=r"c\.txt: cannot be read as UTF-8.*\n  line 2"):
        build_store(FileCorpus(tmp_path / "c.txt", "lines"), tokenizer(), tmp_path)
    assert len(list(tmp_path.glob("*/meta.json"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_store_whose_files_were_touched_is_refused(tmp_path):
    texts = corpus(tmp_path)
    store = build_store(texts, tokenizer(), tmp_path / "stores")
    assert store.folder is not None
    with (store.folder / "starts.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"was changed after it was built \(starts.bin has"):
        build_store(texts, tokenizer(), tmp_path / "stores")
    (store.folder / "starts.bin").unlink()
    with pytest.raises(DataError, match=r"starts\.bin is missing"):
        build_store(texts, tokenizer(), tmp_path / "stores")


KILLED = """
import sys, time
from tests.data.test_token_store import corpus
from tests.word_texts import tokenizer
from tlearn.data import build_store
from pathlib import Path
folder = Path(sys.argv[1])
def wait(done, count):
    if done == 20:
        (folder / "half").touch()
        time.sleep(60)
build_store(corpus(folder), tokenizer(), folder / "stores", progress=wait)
"""


def test_killed_while_building(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    for _ in range(1200):
        if (tmp_path / "half").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = list((tmp_path / "stores").iterdir())
    assert [path.name[0] for path in left] == ["."]
    assert not (left[0] / "meta.json").exists()
    store = build_store(corpus(tmp_path), tokenizer(), tmp_path / "stores")
    assert store.origin == "built"
    # The half store of the dead process is gone.
    assert list((tmp_path / "stores").iterdir()) == [store.folder]
    same(store, build_store(corpus(tmp_path), tokenizer(), tmp_path / "other"))
