"""Corpora: the documents of every form in their order, a digest that notices, names that open."""

import gzip
import json

import pytest

from tests.word_texts import dataset
from tlearn.data import (
    CorpusOptions,
    DataError,
    FileCorpus,
    HeldOut,
    JoinedCorpus,
    TextCorpus,
    WithoutHeldOut,
    open_corpus,
)
from tlearn.data.sentences import LONGEST, pieces

WIKI = """ \n = First = \n \n A text . \n More of it . \n = = Part = = \n \n Words . \n
 = Second 2 = \n = not a heading \n"""


def texts(corpus):
    return [document.text for document in corpus]


def ids(corpus):
    return [document.id for document in corpus]


def test_a_folder_is_a_file_a_document(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"two\r\nlines\r\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.txt.gz").write_bytes(gzip.compress("packed é".encode()))
    (tmp_path / "c.md").write_bytes(b"\xef\xbb\xbfmarked\n")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / ".hidden.txt").write_bytes(b"no")
    corpus = open_corpus(f"text:{tmp_path}")
    assert texts(corpus) == ["packed é", "two\nlines", "marked", ""]
    assert ids(corpus) == ["a/z.txt.gz", "b.txt", "c.md", "empty.txt"]
    assert texts(corpus) == texts(corpus)


@pytest.mark.parametrize(
    ("form", "content", "found"),
    [
        ("lines", "one\n\n two \nthree", [("one", 1), ("two", 3), ("three", 4)]),
        ("blank", "\n\none\ntwo\n \n\nthree\n", [("one\ntwo", 3), ("three", 7)]),
        (
            "wikitext",
            WIKI,
            [
                ("= First =\nA text .\nMore of it .\n= = Part = =\nWords .", 2),
                ("= Second 2 =\n= not a heading", 10),
            ],
        ),
        ("jsonl", '{"text": "a\\nb"}\n\n{"id": 1, "text": ""}\n', [("a\nb", 1), ("", 3)]),
    ],
)
def test_documents_of_a_file_with_their_lines(tmp_path, form, content, found):
    for name, data in (("a.x", content.encode()), ("a.x.gz", gzip.compress(content.encode()))):
        (tmp_path / name).write_bytes(data)
        corpus = open_corpus(f"{form}:{tmp_path / name}")
        assert texts(corpus) == [text for text, _ in found]
        assert ids(corpus) == [f"{name}:{line}" for _, line in found]


def test_a_path_is_sniffed(tmp_path):
    for name, content, form in (
        ("w.txt", WIKI, "wikitext"),
        ("b.txt", "one\n\ntwo\n", "blank"),
        ("l.txt", "one\ntwo\n\n", "lines"),
        ("j.jsonl", '{"text": "one"}\n', "jsonl"),
    ):
        (tmp_path / name).write_text(content)
        corpus = open_corpus(tmp_path / name)
        assert isinstance(corpus, FileCorpus)
        assert corpus.form == form
    with pytest.raises(DataError, match=r"several kinds \(.jsonl, .txt\)"):
        open_corpus(tmp_path)
    (tmp_path / "t.tsv").write_text("text\tlabel\none\tyes\ntwo\tno\n")
    assert texts(open_corpus(tmp_path / "t.tsv")) == ["one", "two"]
    (tmp_path / "x.bin").write_bytes(b"one")
    with pytest.raises(DataError, match="cannot tell what this file is"):
        open_corpus(tmp_path / "x.bin")


def test_corpora_are_joined_by_name_and_all_problems_told(tmp_path):
    (tmp_path / "a+b.txt").write_text("one\ntwo\n")
    (tmp_path / "c.txt").write_text("three\n")
    both = open_corpus(f"lines:{tmp_path / 'a+b.txt'}")
    assert texts(both) == ["one", "two"]
    joined = open_corpus(f"lines:{tmp_path / 'c.txt'}+text:{tmp_path / 'c.txt'}")
    assert isinstance(joined, JoinedCorpus)
    assert texts(joined) == ["three", "three"]
    assert ids(joined) == ["c.txt:1", "c.txt"]
    spec = f"lnies:{tmp_path / 'c.txt'}+lines:{tmp_path / 'd.txt'}+embedded:no_such_package"
    with pytest.raises(DataError) as caught:
        open_corpus(spec)
    message = str(caught.value)
    for part in (
        "did you mean 'lines'?",
        "d.txt: no such file or folder; did you mean 'c.txt'?",
        "there is no package 'no_such_package' here",
    ):
        assert part in message
    with pytest.raises(DataError, match="names no place"):
        open_corpus("text:")


def test_a_changed_file_changes_the_digest_and_is_named(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("same\n")
    corpus = FileCorpus(tmp_path, "text")
    before, parts = corpus.digest, corpus.parts
    assert before == FileCorpus(tmp_path, "text").digest
    assert before != FileCorpus(tmp_path, "lines").digest
    (tmp_path / "b.txt").write_text("other\n")
    assert corpus.digest != before
    assert [name for name in parts if parts[name] != corpus.parts[name]] == ["b.txt"]
    joined = JoinedCorpus([corpus, FileCorpus(tmp_path / "a.txt", "text")])
    assert len(joined.parts) == 3
    swapped = JoinedCorpus(joined.corpora[::-1])
    assert swapped.digest != joined.digest


def test_the_texts_of_a_dataset_are_a_corpus(tmp_path):
    data = dataset(5, pairs=True)
    assert data.pairs is not None
    corpus = TextCorpus(data)
    assert texts(corpus)[3] == f"{data.texts[3]}\n{data.pairs[3]}"
    assert ids(corpus)[3] == data.id(3)
    assert corpus.digest != TextCorpus(dataset(5, seed=1, pairs=True)).digest
    for name, lines in (("train", "one\tyes\ntwo\tno"), ("test", "three\tyes\nfour\tno")):
        (tmp_path / f"{name}.tsv").write_text(f"words\tlabel\n{lines}\n")
    asked = CorpusOptions(text_field="words")
    # What is for testing stays out unless it is asked for.
    assert texts(open_corpus(f"dataset:text:{tmp_path}", asked)) == ["one", "two"]
    both = CorpusOptions(text_field="words", split="train+test")
    assert len(texts(open_corpus(f"dataset:text:{tmp_path}", both))) == 4
    file = tmp_path / "test.tsv"
    assert texts(open_corpus(f"dataset:tsv:{file}", asked)) == ["three", "four"]
    # A table needs no column of labels, and no header where the column is told by number.
    bare = tmp_path / "bare.tsv"
    bare.write_text("earn\tfive\nacq\tsix\n")
    numbered = CorpusOptions(text_field="2")
    assert texts(open_corpus(f"table:{bare}", numbered)) == ["five", "six"]
    assert texts(open_corpus(bare, numbered)) == ["five", "six"]
    with pytest.raises(DataError, match="which column is the text"):
        open_corpus(bare)


def test_a_split_stands_behind_the_name_of_a_corpus_that_has_splits(tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{name} text\tyes\n")
    (tmp_path / "a@b.txt").write_text("a line\n")
    data, file = f"dataset:text:{tmp_path}", f"lines:{tmp_path}/a@b.txt"
    assert texts(open_corpus(data)) == ["train text"]
    assert texts(open_corpus(f"{data}@test")) == ["test text"]
    assert texts(open_corpus(f"{data}@validation")) == ["dev text"]
    # What is named behind it goes before the options, which hold for the others.
    both = open_corpus(f"{data}@dev+{data}+{file}", CorpusOptions(split="test"))
    assert texts(both) == ["dev text", "test text", "a line"]
    with pytest.raises(DataError, match=r"no such split:\n *'tets': did you mean 'test'"):
        open_corpus(f"{data}@tets")
    for spec, options in ((f"{file}@test", None), (file, CorpusOptions(split="test"))):
        with pytest.raises(DataError, match=r"a@b.txt' has no splits, and 'test' .* is asked for"):
            open_corpus(spec, options)
    table = f"dataset:tsv:{tmp_path}/test.tsv"
    assert texts(open_corpus(table)) == ["test text"]
    with pytest.raises(DataError, match="no such split"):
        open_corpus(f"{table}@train")


def test_documents_that_hold_a_test_text_are_left_out(tmp_path):
    held = HeldOut(["The quick brown fox jumps over the lazy dog, twice.", "Three words only"])
    documents = [
        "Once the quick, brown FOX jumps over the lazy dog twice or more.",
        "The quick brown fox is another one that jumps over my dogs twice.",
        "three words: only!",
        "three words only in a longer text",
        "nothing of it",
        "",
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in documents))
    corpus = open_corpus(f"jsonl:{tmp_path / 'a.jsonl'}", held_out=held)
    assert texts(corpus) == [documents[i] for i in (1, 3, 4, 5)]
    assert isinstance(corpus, WithoutHeldOut)
    assert corpus.left_out == 2
    assert corpus.digest != open_corpus(f"jsonl:{tmp_path / 'a.jsonl'}").digest
    assert held.digest != HeldOut([]).digest
    pairs = dataset(4, pairs=True, longest=8)
    assert pairs.pairs is not None
    assert all(HeldOut.of(pairs).within(text) for text in (*pairs.texts, *pairs.pairs))
    with pytest.raises(DataError, match="share 0"):
        HeldOut(["a"], share=0.0)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("One two. Three! Four", ["One two.", " Three!", " Four"]),
        ('He said "no." Then e.g. this.', ['He said "no."', " Then e.g. this."]),
        ("a line\nanother\n\n  third", ["a line", "\nanother", "\n\n  third"]),
        ('Really? "Yes." (No.)', ["Really?", ' "Yes."', " (No.)"]),
        ("version 3.5 of it. 2 more", ["version 3.5 of it. 2 more"]),
        ("  \n lead", ["  \n lead"]),
        ("", []),
    ],
)
def test_sentences_begin_at_lines_and_capitals(text, begins):
    found = list(pieces(text))
    # White space before the first word belongs to nothing that comes before.
    assert "".join(piece for piece, _ in found) == text
    if text.strip() and not text.startswith(" "):
        assert [piece for piece, _ in found] == begins
    assert all(first for _, first in found)


def test_no_piece_is_too_long_and_nothing_is_lost():
    for text in ("x" * 50_000, "word " * 20_000, "." * 30_000, " " * 30_000, "a. " * 10_000):
        found = list(pieces(text))
        assert "".join(piece for piece, _ in found) == text
        assert max(len(piece) for piece, _ in found) <= LONGEST
        assert [first for _, first in found] == [True] + [False] * (len(found) - 1)
    # Cut between words where there are any.
    assert all(piece.startswith(" ") for piece, _ in list(pieces("word " * 20_000))[1:])


@pytest.mark.data
def test_articles_and_words_of_wikitext(shared_data):
    # 217,646 and 245,569 words in the paper (Merity et al. 2016, table 1), the ends of 3,760 and
    # 4,358 lines among them, blank ones too. It counts 60 articles each; in test 62 lines read as
    # titles.
    for name, articles, words, lines in (
        ("valid", 60, 217_646, 3_760),
        ("test", 62, 245_569, 4_358),
    ):
        documents = list(open_corpus(shared_data / "wikitext2_part" / f"{name}.txt.gz"))
        assert len(documents) == articles
        assert sum(len(document.text.split()) for document in documents) == words - lines
