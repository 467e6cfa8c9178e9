"""Documentation as a corpus and a task: read without importing, names masked, tests held out."""

import re
import subprocess
import sys
import textwrap
from itertools import islice

import numpy as np
import pytest

from tlearn.data import (
    DataError,
    EmbeddedCorpus,
    HeldOut,
    TextDataset,
    embedded_task,
    open_corpus,
    open_texts,
    per_class,
    text_splits,
)
from tlearn.data.docstrings import prose, source_files
from tlearn.data.embedded_task import MASK, MODULES
from tlearn.data.held_out import runs

MODULE = '''
"""What the package is for.

It spans two lines, see :func:`~toy.first.helper` and ``code``.
"""
raise RuntimeError("imported")

def helper(x):
    """Finds the helper of a thing among many others, as helpers do.

    Parameters
    ----------
    x : int
        The thing.

    Examples
    --------
    >>> helper(1)
    2

    """

class Thing:
    """A thing."""
    if True:
        def method(self):
            """Twice the thing."""

add_newdoc("toy.first", "ufunc", """
    Adds numbers
    in C.
    """)
'''
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def functions(package, count, seed):
    """Functions with descriptions of random words, and a heading section."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = " ".join(rng.choice(WORDS, 12))
        text = f"The {package}_{number} of {words}, see toy.{package}.other."
        found.append(
            f"def {package}_{number}():\n    '''{text}\n\n    Returns\n    -------\n    x\n    '''"
        )
    return "\n".join(found)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package of four modules that breaks when it is imported."""
    root = tmp_path / "toy"
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (root / "first.py").write_text(MODULE)
    (root / "broken.py").write_text('"""Not Python 3."""\nprint "x"\n')
    (root / "tests" / "test_it.py").write_text('"""A test that is not read."""\n')
    (root / "left.py").write_text(functions("left", 40, 0))
    (root / "right.py").write_text(functions("right", 40, 1) + '\n"""again"""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    return root


def test_docstrings_are_read_without_importing(toy):
    corpus = EmbeddedCorpus("toy.first")
    (document,) = corpus
    assert document.id == "toy.first"
    assert document.text == textwrap.dedent("""\
        What the package is for.
        It spans two lines, see toy.first.helper and code.

        Finds the helper of a thing among many others, as helpers do.
        Parameters
        x : int
        The thing.
        Examples

        A thing.

        Twice the thing.

        Adds numbers in C.""")
    assert [document.id for document in EmbeddedCorpus("toy")] == [
        "toy.first",
        "toy.left",
        "toy.right",
    ]
    assert "toy" not in sys.modules
    assert [module for module, _ in source_files("toy")] == [
        "toy",
        "toy.broken",
        "toy.first",
        "toy.left",
        "toy.right",
    ]


def test_lines_that_are_there_again_are_read_once(toy):
    line = "x is what everything here is about"
    (toy / "zero.py").write_text(f'"""First of all.\n\n{line}\n\nReturns\n\nOne."""\n')
    (toy / "zeta.py").write_text(f'"""Second of all.\n\n{line}\n\nReturns\n\nTwo."""\n')
    (toy / "zoo.py").write_text(f'"""{line}"""\n')
    found = {document.id: document.text for document in EmbeddedCorpus("toy")}
    assert found["toy.zero"].split() == f"First of all. {line} Returns One.".split()
    assert found["toy.zeta"].split() == "Second of all. Returns Two.".split()
    # All that it says was said.
    assert "toy.zoo" not in found


def test_a_changed_source_changes_the_digest(toy):
    corpus = EmbeddedCorpus("toy")
    before, parts = corpus.digest, corpus.parts
    assert before == EmbeddedCorpus("toy").digest
    (toy / "left.py").write_text('"""Other."""\n')
    assert corpus.digest != before
    assert [name for name in parts if parts[name] != corpus.parts[name]] == ["toy.left"]


def test_what_is_not_there_is_refused_by_name(toy):
    with pytest.raises(DataError, match="there is no package 'numpyy' here; install it"):
        EmbeddedCorpus("numpyy")
    with pytest.raises(DataError, match="is 'thrid' a part of toy"):
        EmbeddedCorpus("toy.thrid")
    with pytest.raises(DataError, match=r"embedded:toy\.none.*"):
        open_corpus("embedded:toy.none")
    with pytest.raises(DataError) as caught:
        embedded_task(("toy.left", "toy.left", "toy", "nowhere"), test=1.5)
    message = str(caught.value)
    for part in (
        "'toy.left' is named twice",
        "toy.left lies in toy",
        "test=1.5",
        "no package 'nowhere'",
    ):
        assert part in message
    with pytest.raises(DataError, match=r"at least 10 different.*\n  toy\.first has 1"):
        embedded_task(("toy.first", "toy.left"))
    with pytest.raises(DataError, match="expected at least two"):
        embedded_task(("toy.left",))
    with pytest.raises(DataError, match=r"names one class.*there is: scipy"):
        text_splits("embedded:toy")


def test_prose_leaves_code_tables_and_marks_out():
    text = """Sums up
    numbers %(rest)s.

    - first item
      goes on
    - second

    .. versionadded:: 1.2

    >>> a = 1
    >>> a
    1

    === ===
    a   b
    === ===
    """
    assert prose(textwrap.dedent(text.replace("Sums", "    Sums"))) == (
        "Sums up numbers .\n- first item\ngoes on\n- second\na b"
    )


def test_the_task_masks_names_and_parts_functions(toy):
    task = embedded_task(("toy.left", "toy.right"), test=0.25)
    assert task.train.label_names == ("toy.left", "toy.right")
    assert np.bincount(task.test.labels).tolist() == [10, 10]
    assert np.bincount(task.train.labels).tolist() == [30, 30]
    for part in (task.train, task.test):
        for index in range(len(part)):
            text = part.texts[index]
            assert text.startswith(f"The {MASK} of ")
            assert text.endswith(f", see {MASK}.")
            assert "Returns" not in text
            assert f"{part.id(index).split(':')[1]} of" in whole_of(part, index)
    assert not {*map(task.train.id, range(60))} & {*map(task.test.id, range(20))}
    again = embedded_task(("toy.left", "toy.right"), test=0.25)
    assert (again.train.digest, again.test.digest) == (task.train.digest, task.test.digest)
    other = embedded_task(("toy.left", "toy.right"), test=0.25, seed=1)
    assert other.test.digest != task.test.digest
    joined = embedded_task(("toy.left+toy.first", "toy.right"), words=(8, 10))
    assert joined.train.label_names[0] == "toy.left+toy.first"
    assert max(len(text.split()) for text in joined.train.texts) == 10


def test_descriptions_that_say_the_same_are_left_out(toy):
    source = (toy / "left.py").read_text()
    # The same functions under another name, in the other class too.
    (toy / "left.py").write_text(source + "\n" + source.replace("def left", "def copy"))
    (toy / "right.py").write_text((toy / "right.py").read_text() + "\n" + source)
    task = embedded_task(("toy.left", "toy.right"))
    assert len(task.train) + len(task.test) == 80
    assert task.left_out == 80


def whole_of(dataset, index):
    """A text before anything in it was masked."""
    return dataset[index]["whole"]


def shared_runs(one, other):
    first, second = set(runs(one, 4).tolist()), set(runs(other, 4).tolist())
    return len(first & second) / min(len(first), len(second))


def test_no_test_text_is_in_any_corpus(toy):
    task = embedded_task(("toy.left", "toy.right"))
    whole = "\n".join(document.text for document in EmbeddedCorpus("toy"))
    corpus = EmbeddedCorpus("toy", held_out=task.held_out)
    kept = "\n".join(document.text for document in corpus)
    assert corpus.left_out == 16
    tests = [whole_of(task.test, i) for i in range(16)]
    trains = [whole_of(task.train, i) for i in range(64)]
    assert all(text in whole for text in (*tests, *trains))
    assert not any(text in kept for text in tests)
    assert all(text in kept for text in trains)
    assert corpus.digest != EmbeddedCorpus("toy").digest
    # By its name, a part of it, and joined to others, the task's test texts stay out as well.
    named = open_texts("embedded:toy.left,toy.right", "test")
    assert HeldOut.of(named).digest == task.held_out.digest
    assert HeldOut.of(per_class(named, 3, seed=0)).within(kept) is False
    assert HeldOut.of(per_class(named, 3, seed=0)).within(whole)
    opened = open_corpus("embedded:toy+embedded:toy.first", held_out=task.held_out)
    assert not any(text in document.text for document in opened for text in tests)


def test_the_standard_library_is_english_and_in_a_fixed_order():
    some = list(islice(EmbeddedCorpus("stdlib"), 120))
    code = (
        "from itertools import islice; from tlearn.data.embedded import EmbeddedCorpus\n"
        "print(repr(list(islice(EmbeddedCorpus('stdlib'), 120))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == repr(some), done.stderr
    words = sum(len(document.text.split()) for document in some)
    names = [document.id for document in some]
    assert words > 20_000
    assert not any("test" in name.split(".") or "idlelib" in name for name in names)


@pytest.mark.slow
def test_the_usual_task_has_enough_for_every_label_count():
    task = embedded_task(MODULES["scipy"])
    assert isinstance(task.train, TextDataset)
    assert np.bincount(task.train.labels).min() >= 200
    # A fifth of each class.
    kept = np.bincount(task.train.labels) + np.bincount(task.test.labels)
    np.testing.assert_allclose(np.bincount(task.test.labels), kept / 5, atol=1)
    for text in (*task.train.texts, *task.test.texts):
        words = set(re.findall(r"\w+", text.lower()))
        assert not words & {part for name in MODULES["scipy"] for part in re.split(r"[.+]", name)}
    apart = [
        shared_runs(a, b) for a in task.test.texts[:40] for b in task.train.texts if len(a) > 60
    ]
    assert max(apart) < 0.5
    corpus = list(EmbeddedCorpus("scipy", held_out=task.held_out))
    # A function's documentation is looked at, not a module's, whose phrases add up.
    blocks = [block for document in corpus for block in document.text.split("\n\n")]
    assert not any(task.held_out.within(block) for block in blocks)
    whole = " ".join(" ".join(blocks).split())
    assert not any(" ".join(whole_of(task.test, i).split()) in whole for i in range(len(task.test)))
