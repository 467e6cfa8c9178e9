"""Word-vector files: what is read, what is refused and why, and the words as a tokenizer."""

import struct

import jax
import numpy as np
import pytest

from tlearn import bodies, hub
from tlearn.data.tokenizer import Tokenizer
from tlearn.hub.vectors_file import read_glove, read_word2vec

EMBEDDING = "body/embeddings/tokens/embedding"
WORDS = ("the", ",", "n't", "straße", "new york")
TABLE = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def text(words=WORDS, table=TABLE, header=False):
    lines = [f"{len(words)} {table.shape[1]}"] if header else []
    lines += [f"{w} {' '.join(map(str, row))}" for w, row in zip(words, table, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def binary(words=("the", "cat"), table=TABLE[:2], between=b"\n"):
    """``between`` is a line break as the original program writes, or nothing as gensim does."""
    parts = [f"{len(words)} {table.shape[1]}\n".encode()]
    for word, row in zip(words, table, strict=True):
        parts.append(word.encode() + b" " + struct.pack(f"<{len(row)}f", *row) + between)
    return b"".join(parts)


def write(folder, content):
    path = folder / "vectors"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b" \n"])
def test_glove_text_is_read_whatever_its_line_ends(tmp_path, ending):
    found = read_glove(write(tmp_path, text().replace(b"\n", ending)))
    assert found.words == WORDS
    np.testing.assert_array_equal(found.table, TABLE)


def test_word2vec_text(tmp_path):
    found = read_word2vec(write(tmp_path, text(header=True)))
    assert (found.words, found.format) == (WORDS, "word2vec text")
    np.testing.assert_array_equal(found.table, TABLE)


@pytest.mark.parametrize("between", [b"\n", b""])
def test_word2vec_binary_as_the_original_and_gensim_write_it(tmp_path, between):
    found = read_word2vec(write(tmp_path, binary(between=between)))
    assert (found.words, found.format) == (("the", "cat"), "word2vec binary")
    np.testing.assert_array_equal(found.table, TABLE[:2])


HOSTILE = {
    "no header": ("word2vec", text(), "does not begin with two counts.*glove:"),
    "a header": ("glove", text(header=True), "begins with two counts.*word2vec:"),
    "header of more": ("word2vec", b"6 3\n" + text(), "says 6 words, but there are 5"),
    "header of fewer": ("word2vec", b"4 3\n" + text(), "says 4 words, but there are more"),
    "header of 10^12": ("word2vec", b"1000000000000 3\n" + text(), "header lies"),
    "header of width 0": ("word2vec", b"5 0\n" + text(), "no such vectors"),
    "another width": ("word2vec", b"5 4\n" + text(), "cut short, or its header lies|numbers"),
    "a short line": ("glove", text() + b"dog 1 2\n", "line 6: 2 numbers, but 3"),
    "a long line": ("glove", text() + b"dog 1 2 3 4\n", "line 6: more than 3 numbers"),
    "no number": ("glove", text() + b"dog 1 2 x\n", "line 6: not all of its 3"),
    "a word twice": ("glove", text() + b"the 1 2 3\n", "'the' is word 1 and again word 6"),
    "not a number": ("glove", text() + b"dog 1 nan 3\n", "'dog' has numbers that are not fin"),
    "too large": ("glove", text() + b"dog 1 1e99 3\n", "'dog' has numbers that are not fin"),
    "no UTF-8": ("glove", text() + b"\xff\xfe 1 2 3\n", "line 6: .*utf-8"),
    "binary cut": ("word2vec", binary()[:-6], "cut short"),
    "binary too long": ("word2vec", binary() + b"more", "4 bytes after the 2 words"),
    "binary of NaN": (
        "word2vec",
        binary(table=np.full((2, 3), np.nan, np.float32)),
        "'the' has numbers that are not finite",
    ),
    "binary twice": ("word2vec", binary(words=("cat", "cat")), "'cat' is word 1 and again word 2"),
    "gzip": ("glove", b"\x1f\x8b\x08\x00rest", "packed by gzip"),
    "empty": ("glove", b"", "cannot be read|empty"),
    "prose": ("glove", b"It was a dark night.\nIt rained.\n", "no word vectors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_unsound_files_are_refused_with_the_reason(tmp_path, name):
    kind, content, message = HOSTILE[name]
    with pytest.raises(hub.HubError, match=message):
        hub.load(f"{kind}:{write(tmp_path, content)}")


@pytest.mark.parametrize("name", ["no number", "not a number", "binary of NaN"])
def test_for_a_look_no_number_is_read(tmp_path, name):
    kind, content, message = HOSTILE[name]
    source = hub.load(f"{kind}:{write(tmp_path, content)}", read=False)
    assert source.params[EMBEDDING].shape == (source.body["vocab_size"], 3)
    with pytest.raises(hub.HubError, match=message):
        np.asarray(source.params[EMBEDDING])


@pytest.mark.parametrize(
    ("kind", "content"),
    [("glove", text()), ("word2vec", text(header=True)), ("word2vec", binary())],
)
def test_a_look_tells_what_loading_does(tmp_path, kind, content):
    spec = f"{kind}:{write(tmp_path, content)}"
    whole, look = hub.load(spec), hub.load(spec, read=False)
    assert (look.body, look.facts, look.files) == (whole.body, whole.facts, whole.files)
    assert dict(look.provenance) == {**whole.provenance, "sha256": None}
    leaf, wanted = look.params[EMBEDDING], whole.params[EMBEDDING]
    assert (leaf.shape, leaf.dtype, leaf.nbytes) == (wanted.shape, wanted.dtype, wanted.nbytes)
    assert np.asarray(leaf).tobytes() == wanted.tobytes()
    assert jax.tree.leaves(leaf)[0].tobytes() == wanted.tobytes()
    assert leaf.astype(np.float16).read().dtype == np.float16


@pytest.mark.parametrize("name", ["a short line", "a word twice", "binary cut", "no UTF-8"])
def test_a_look_refuses_what_it_sees(tmp_path, name):
    kind, content, message = HOSTILE[name]
    with pytest.raises(hub.HubError, match=message):
        hub.load(f"{kind}:{write(tmp_path, content)}", read=False)


def test_all_bad_lines_are_named_at_once(tmp_path):
    with pytest.raises(hub.HubError, match=r"(?s)line 6.*line 7"):
        hub.load(f"glove:{write(tmp_path, text() + b'dog 1 2' + chr(10).encode() + b'cat 1')}")


def test_a_source_has_rows_for_padding_and_the_unknown_and_a_tokenizer(tmp_path):
    source = hub.load(f"glove:{write(tmp_path, text())}")
    table = source.params[EMBEDDING]
    np.testing.assert_array_equal(table[0], 0)
    np.testing.assert_allclose(table[1], TABLE.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(table[2:], TABLE)
    body = bodies.build(source.body)
    assert (body.vocab_size, body.feature_width) == (7, 3)
    assert (source.facts.pad, source.facts.token("unk"), source.facts.lowercase) == (0, 1, True)
    tokenizer = Tokenizer.from_files(source.files)
    assert (tokenizer.size, tokenizer.pad) == (7, 0)
    tokens = tokenizer.encode(["The, doesn't Straße!"])
    assert tokens.ids.tolist() == [2, 3, 1, 4, 5, 1]
    assert tokens.unknown == 2
    assert tokens.unknown_share == pytest.approx(2 / 6)


def test_rows_that_the_file_has_for_padding_and_the_unknown_are_its_own(tmp_path):
    words, table = ("Cat", "<unk>", "<pad>"), TABLE[:3]
    source = hub.load(f"glove:{write(tmp_path, text(words, table))}")
    np.testing.assert_array_equal(source.params[EMBEDDING], table[[2, 1, 0]])
    assert source.facts.lowercase is False


def test_exported_and_loaded_again_words_and_numbers_are_the_same(tmp_path):
    source = hub.load(f"glove:{write(tmp_path, text())}")
    again = hub.load(f"word2vec:{hub.export_word2vec(source, tmp_path / 'out.txt')}")
    assert again.params[EMBEDDING].tobytes() == source.params[EMBEDDING].tobytes()
    assert again.files == source.files
    assert again.facts == source.facts


def test_a_run_folder_carries_words_and_vectors(tmp_path):
    source = hub.load(f"glove:{write(tmp_path, text())}")
    hub.save_model(tmp_path / "run", source)
    again = hub.load(f"run:{tmp_path / 'run'}")
    assert np.asarray(again.params[EMBEDDING]).tobytes() == source.params[EMBEDDING].tobytes()
    assert dict(again.files) == dict(source.files)


@pytest.mark.data
def test_real_glove_vectors(shared_data, tmp_path):
    path = shared_data / "glove_6B_50d_part" / "glove.6B.50d.part.txt"
    source = hub.load(f"glove:{path}")
    assert source.body["vocab_size"] == 2448
    assert source.body["width"] == 50
    tokenizer = Tokenizer.from_files(source.files)
    table = source.params[EMBEDDING]

    def vector(word):
        found = table[tokenizer.encode([word]).ids[0]]
        return found / np.linalg.norm(found)

    # Neighbours in meaning: what the vectors were made for.
    assert vector("man") @ vector("woman") > 0.85
    assert vector("two") @ vector("three") > 0.9
    assert vector("man") @ vector("percent") < 0.4
