"""Tables of text: what is in the file comes out, and what cannot be read is named by its line."""

import gzip
import json

import pytest

from tlearn.data import DataError, open_corpus, read_texts, text_file
from tlearn.data.text_dataset import sorted_labels


def write(path, text, *, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def rows(dataset):
    names = dataset.label_names
    return [
        (e["text"], e.get("pair"), names[e["label"]] if names else float(e["label"]))
        for e in (dataset[i] for i in range(len(dataset)))
    ]


def test_tsv_keeps_quotes_and_odd_separators(tmp_path):
    text = '\ufefftext\tlabel\r\nhe said "yes\tpos\r\na\u2028b "" c\x85d\tneg\r\n\r\nlast\tpos'
    found = text_file(write(tmp_path / "a.tsv", text))
    assert rows(found) == [
        ('he said "yes', None, "pos"),
        ('a\u2028b "" c\x85d', None, "neg"),
        ("last", None, "pos"),
    ]
    assert [found.id(i) for i in range(3)] == ["a.tsv:2", "a.tsv:3", "a.tsv:5"]


def test_csv_unquotes_and_spans_lines(tmp_path):
    long = "word " * 40_000
    text = f'label,text\n1,"two\nlines, one ""field"""\n0,{long}\n'
    found = text_file(write(tmp_path / "a.csv", text))
    assert rows(found) == [('two\nlines, one "field"', None, "1"), (long, None, "0")]
    assert found.id(1) == "a.csv:4"


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_and_lists(tmp_path, packed):
    entries = [{"text": "a", "label": 10, "x": [1]}, {"label": 9, "text": "b"}]
    lines = "\n".join(map(json.dumps, entries)).encode() + b"\n"
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(lines) if packed else lines)
    assert rows(text_file(path)) == [("a", None, "10"), ("b", None, "9")]
    assert text_file(path).label_names == ("9", "10")
    listed = write(tmp_path / "a.json", json.dumps(entries))
    assert text_file(listed).digest == text_file(path).digest


def test_columns_by_name_number_or_known_name(tmp_path):
    table = write(tmp_path / "a.tsv", "id\tpremise\thypothesis\tgold_label\n7\tp\th\tno\n")
    assert rows(text_file(table)) == [("p", "h", "no")]
    assert rows(text_file(table, text_column="hypothesis")) == [("h", None, "no")]
    assert rows(text_file(table, text_column="3", label_column="1")) == [("h", None, "7")]
    bare = write(tmp_path / "b.tsv", "yes\tone\nno\ttwo\n")
    assert rows(text_file(bare, text_column="2", label_column="1")) == [
        ("one", None, "yes"),
        ("two", None, "no"),
    ]
    # The first line is a header only if a name in it is known or asked for, or it is said to be.
    odd = write(tmp_path / "c.tsv", "kind\twords\nyes\tone\n")
    assert len(text_file(odd, text_column="2", label_column="1")) == 2
    assert len(text_file(odd, text_column="2", label_column="1", header=True)) == 1
    assert len(text_file(odd, text_column="words", label_column="kind")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "txet"}, r"text_column='txet': did you mean 'text'\?"),
        ({"label_column": "9"}, "label_column=9: columns are counted from 1 to 2"),
        ({"pair_column": "0"}, "pair_column=0: columns are counted from 1"),
        ({"text_column": "label"}, "one column is asked for twice"),
    ],
)
def test_columns_that_are_not_there(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        text_file(write(tmp_path / "a.tsv", "text\tlabel\na\tb\n"), **options)


def test_columns_that_cannot_be_told_show_the_first_row(tmp_path):
    bare = write(tmp_path / "a.tsv", "yes\tone\n")
    with pytest.raises(DataError) as caught:
        text_file(bare)
    message = str(caught.value)
    assert "no header line, first row: 'yes' | 'one'" in message
    assert "give text_column" in message
    assert "give label_column" in message
    with pytest.raises(DataError, match="columns: text, kind"):
        text_file(write(tmp_path / "b.tsv", "text\tkind\none\tyes\n"))


def test_every_bad_line_is_named(tmp_path):
    ragged = write(tmp_path / "a.tsv", "text\tlabel\none\tyes\ntwo\nthree\tno\tmore\n")
    with pytest.raises(DataError, match=r"(?s)header has 2 fields.*line 3: 1.*line 4: 3 fields"):
        text_file(ragged)
    found = text_file(ragged, skip_ragged=True)
    assert (len(found), len(found.skipped)) == (1, 2)
    assert "left out" in found.describe()
    empty = write(tmp_path / "b.tsv", "text\tlabel\n \tyes\ntwo\t\n")
    with pytest.raises(DataError, match=r"(?s)line 2: the text is empty.*line 3: no label"):
        text_file(empty)
    objects = write(
        tmp_path / "c.jsonl",
        '{"text": "a", "label": 1}\n{"text": 3, "label": null}\n{"text": "c"}\n'
        '{"text": "d", "label": [1]}\n',
    )
    with pytest.raises(DataError) as caught:
        text_file(objects)
    message = str(caught.value)
    for part in (
        "line 2: the text is 3, expected a string",
        "line 2: no label",
        "line 3: no label",
        r"line 4: label [1], expected a string or a number",
    ):
        assert part in message
    with pytest.raises(DataError, match=r"(?s)line 1: no JSON.*line 2: list, expected an object"):
        text_file(write(tmp_path / "d.jsonl", "{\n[1]\n"))


def test_what_is_no_text_file_is_told(tmp_path):
    latin = tmp_path / "a.tsv"
    latin.write_bytes("text\tlabel\ngut\t1\nschön\t0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?s)not UTF-8.*line 3: byte 0xf6 at place 4"):
        text_file(latin)
    with pytest.raises(DataError, match="is UTF-16"):
        text_file(write(tmp_path / "b.tsv", "text\tlabel\n", encoding="utf-16"))
    cut = tmp_path / "c.tsv.gz"
    cut.write_bytes(gzip.compress(b"text\tlabel\n" + b"a b c\t1\n" * 999)[:-20])
    with pytest.raises(DataError, match="damaged or cut off"):
        text_file(cut)
    with pytest.raises(DataError, match=r"no such file; did you mean 'b\.tsv'"):
        text_file(tmp_path / "d.tsv")
    with pytest.raises(DataError, match="holds a header line and nothing else"):
        text_file(write(tmp_path / "e.tsv", "text\tlabel\n"))
    with pytest.raises(DataError, match="line 2"):
        text_file(write(tmp_path / "f.csv", 'text,label\n"never closed,1\n'))
    with pytest.raises(DataError, match="cannot tell what this file is"):
        text_file(write(tmp_path / "g.xlsx", "text,label\n"))


def test_a_nul_is_refused_by_file_and_line(tmp_path):
    rows = b"text\tlabel\nfine\tno\nfi\0ne\tyes\nsch\xf6n\tno\nfine\t\0\n"
    for name, sep in (("a.tsv", b"\t"), ("a.csv", b","), ("a.tsv.gz", b"\t")):
        file, content = tmp_path / name, b"\xef\xbb\xbf" + rows.replace(b"\t", sep)
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        for read in (text_file, read_texts, lambda at: open_corpus(f"table:{at}")):
            with pytest.raises(DataError) as caught:
                read(file)
            assert str(caught.value).startswith(f"{file}: is not UTF-8 text")
            assert str(caught.value).split("\n")[1:] == [
                "  line 3: a NUL byte at place 3",
                "  line 4: byte 0xf6 at place 4",
                "  line 5: a NUL byte at place 6",
            ]
    alone = write(tmp_path / "b.tsv", "text\tlabel\nfi\0ne\tyes\n")
    with pytest.raises(DataError, match=r"b\.tsv.*NUL bytes:\n  line 2: a NUL byte at place 3"):
        text_file(alone)
    escaped = write(tmp_path / "c.jsonl", '{"text": "a"}\n{"text": "\\u0000"}\n')
    with pytest.raises(DataError, match=r"(?s)c\.jsonl.*line 2: the text holds a NUL character"):
        read_texts(escaped)


def test_labels_are_strings_unless_they_are_numbers(tmp_path):
    spelt = write(tmp_path / "a.tsv", "text\tlabel\na\t01\nb\t1\nc\t10\nd\t9\n")
    assert text_file(spelt).label_names == ("01", "1", "9", "10")
    scores = write(tmp_path / "b.tsv", "text\tscore\na\t3.800\nb\t1\nc\t-2e0\n")
    assert [row[2] for row in rows(text_file(scores))] == pytest.approx([3.8, 1, -2])
    assert text_file(scores).label_names == ()
    assert text_file(scores, labels="class").label_names == ("-2e0", "1", "3.800")
    whole = write(tmp_path / "c.tsv", "text\tlabel\na\t1.0\nb\t0.0\n")
    assert text_file(whole).label_names == ("0.0", "1.0")
    assert text_file(whole, labels="number").label_names == ()
    with pytest.raises(DataError, match="line 3: label 'high' is no finite number"):
        text_file(write(tmp_path / "d.tsv", "text\tlabel\na\t1\nb\thigh\n"), labels="number")
    with pytest.raises(DataError, match="line 2: label 'nan' is no finite number"):
        text_file(write(tmp_path / "e.tsv", "text\tlabel\na\tnan\n"), labels="number")


def test_sorted_labels():
    assert sorted_labels({"b", "a", "a10", "a9"}) == ("a", "a9", "a10", "b")
    assert sorted_labels({"2", "-1", "1e1"}) == ("-1", "2", "1e1")
    assert sorted_labels(["nan", "1"]) == ("1", "nan")


def test_texts_without_labels(tmp_path):
    lines = write(tmp_path / "a.txt", "one, two\nthree\n")
    assert [row[0] for row in rows(read_texts(lines))] == ["one, two", "three"]
    pairs = write(tmp_path / "b.tsv", "sentence1\tsentence2\na\tb\n")
    assert [row[:2] for row in rows(read_texts(pairs))] == [("a", "b")]
