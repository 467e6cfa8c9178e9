"""What corpora on disk are like: bytes that are no text, lines without end, empty folders."""

import gzip
import json
import subprocess
import sys

import pytest

from tlearn.data import DataError, FileCorpus, open_corpus


def test_bytes_that_are_no_text_are_refused_by_line(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"fine\nsch\xf6n\nfine\nnul\0byte\n\xff\n")
    for form in ("text", "lines", "blank", "wikitext"):
        with pytest.raises(DataError) as caught:
            list(FileCorpus(file, form))
        message = str(caught.value)
        assert str(file) in message
        for part in (
            "line 2: byte 0xf6 at place 4",
            "line 4: a NUL byte at place 4",
            "line 5: byte 0xff at place 1",
            "errors='replace'",
        ):
            assert part in message
    replaced = FileCorpus(file, "lines", errors="replace")
    read = [document.text for document in replaced]
    assert read == ["fine", "sch\ufffdn", "fine", "nul\ufffdbyte", "\ufffd"]
    assert replaced.digest != FileCorpus(file, "lines").digest
    # The second file of a folder is named, not the first.
    (tmp_path / "Z.txt").write_text("fine")
    with pytest.raises(DataError, match=r"a\.txt: cannot be read"):
        list(FileCorpus(tmp_path, "text"))


def test_a_file_of_anything_names_twenty_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\n" * 30)
    with pytest.raises(DataError, match=r"(?s)line 20:.*and 10 more lines") as caught:
        list(FileCorpus(tmp_path / "a.txt", "lines"))
    assert "line 21" not in str(caught.value)
    (tmp_path / "b.txt").write_bytes("text".encode("utf-16"))
    with pytest.raises(DataError, match="is UTF-16"):
        list(FileCorpus(tmp_path / "b.txt", "lines"))


def test_a_damaged_archive_is_told(tmp_path):
    whole = gzip.compress(b"a line of text\n" * 5000)
    for name, data in (("cut.txt.gz", whole[:-30]), ("no.txt.gz", b"plain text")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: cannot be unpacked"):
            list(FileCorpus(tmp_path / name, "lines"))


def test_lines_of_json_that_are_no_documents(tmp_path):
    file = tmp_path / "a.jsonl"
    lines = ['{"text": "good"}', "[1]", '{"txet": "b"}', '{"text": 3}', "{", '{"text": "\\u0000"}']
    file.write_text("\n".join([*lines, '{"text": "\\ud800"}']))
    corpus = FileCorpus(file, "jsonl")
    documents = iter(corpus)
    assert next(documents).text == "good"
    with pytest.raises(DataError) as caught:
        next(documents)
    message = str(caught.value)
    for part in (
        f"{file}: expected an object a line",
        "line 2: list, expected an object",
        "line 3: no field 'text': did you mean 'txet'?",
        "line 4: the field 'text' is int, expected a string",
        "line 5: no JSON",
        "line 6: a NUL character",
        "line 7: half a surrogate pair",
    ):
        assert part in message
    file.write_text(lines[-1] + '\n{"text": "\\ud800"}\n')
    read = [document.text for document in FileCorpus(file, "jsonl", errors="replace")]
    assert read == ["\ufffd", "?"]
    file.write_text(json.dumps({"body": "found"}))
    assert next(iter(FileCorpus(file, "jsonl", text_field="body"))).text == "found"


def test_folders_without_texts_and_files_that_are_not_there(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"(?s)holds no texts: expected .*\.txt.*picture\.png"):
        open_corpus(f"text:{tmp_path}")
    (tmp_path / "inside").mkdir()
    with pytest.raises(DataError, match="there is\n  nothing"):
        open_corpus(f"jsonl:{tmp_path / 'inside'}")
    with pytest.raises(DataError, match=r"no such file or folder; did you mean 'inside'\?"):
        open_corpus(f"lines:{tmp_path / 'insid'}")


PEAK = """
import pathlib, sys
from tests.word_texts import tokenizer
from tlearn.data import FileCorpus, build_store
def peak():
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
folder = pathlib.Path(sys.argv[1])
(folder / "small.txt").write_text("the cat sat on a tree\\n" * 60_000)
build_store(FileCorpus(folder / "small.txt", "lines"), tokenizer(), folder / "stores")
before = peak()
store = build_store(FileCorpus(folder / "big.txt", "lines"), tokenizer(), folder / "stores")
print(len(store), len(store.tokens), peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "form",
    ["one line", *(pytest.param(f, marks=pytest.mark.slow) for f in ("no space", "many lines"))],
)
def test_building_needs_the_memory_of_a_document(tmp_path, form):
    # Measured: one word of 10 MB 19 MB, many lines 0 MB over a corpus of 1.3 MB.
    text = {"one line": "the cat sat ", "no space": "x", "many lines": "the cat sat on it\n"}[form]
    with (tmp_path / "big.txt").open("w") as file:
        for _ in range(10):
            file.write(text * (1_000_000 // len(text)))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    documents, tokens, grown = done.stdout.split()
    assert (int(documents) == 1) == (form != "many lines")
    assert int(tokens) > 1000
    # A line is there as bytes and as text, while its pieces go through.
    assert float(grown) < (15 if form == "many lines" else 45)
