"""Kneser-Ney against its equations, a small example by hand, and real English."""

import ast
import inspect
import math
import re
import sysconfig
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from tlearn.studies.kneser_ney import FALLBACK, discounts, fit


def documents(seed: int, count: int, vocab: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # Zipf-like, so that counts of one to four all occur.
    return [
        np.minimum(rng.zipf(1.4, int(rng.integers(0, 30))), vocab - 1).astype(np.int32)
        for _ in range(count)
    ]


def by_dictionary(texts, vocab, eos, order):
    """The same model by dictionaries, one n-gram at a time."""
    begin = vocab if eos is None else eos
    counts: list[Counter] = [Counter() for _ in range(order + 1)]
    for text in texts:
        row = [begin] * (order - 1) + [int(t) for t in text] + ([] if eos is None else [eos])
        for i in range(order - 1, len(row)):
            counts[order][tuple(row[i - order + 1 : i + 1])] += 1
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(gram[1:] for gram in counts[n + 1])
    offs = {n: discounts(np.array(list(counts[n].values()))) for n in range(1, order + 1)}
    followers = [defaultdict(list) for _ in range(order + 1)]
    for n in range(1, order + 1):
        for gram, count in counts[n].items():
            followers[n][gram[:-1]].append(count)

    def probability(context, word):
        value = 1 / vocab
        for n in range(1, order + 1):
            here = tuple(context[len(context) - n + 1 :])
            if here not in followers[n]:
                continue
            off = [0.0, *offs[n]]
            count = counts[n][(*here, word)]
            total = sum(followers[n][here])
            left = sum(off[min(c, 3)] for c in followers[n][here]) / total
            value = max(count - off[min(count, 3)], 0) / total + left * value
        return value

    return probability


def test_the_discounts_are_those_of_equation_17():
    counts = np.repeat([1, 2, 3, 4, 7], [50, 20, 10, 6, 3])
    y = 50 / (50 + 2 * 20)
    expected = (1 - 2 * y * 20 / 50, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10)
    assert discounts(counts) == pytest.approx(expected)
    assert discounts(np.array([1, 2, 3])) == FALLBACK


def test_an_example_by_hand():
    # Bigrams of "a b a c" and "a b" with an end: a=0, b=1, c=2, end=3.
    model = fit([np.array([0, 1, 0, 2]), np.array([0, 1])], 4, eos=3, order=2)
    # After the end: a twice; after a: b twice, c once; after b: a once, end once; c: end once.
    # Different tokens before: a 2 (end, b), b 1, c 1, end 2 (c, b); six bigrams.
    # Discounts .5 of 1 and 1 of 2: what is left is (1 + .5 + .5 + 1) / 6 at the lowest order.
    unigram = {
        0: 1 / 6 + 0.5 / 4,
        1: 0.5 / 6 + 0.5 / 4,
        2: 0.5 / 6 + 0.5 / 4,
        3: 1 / 6 + 0.5 / 4,
    }
    assert model.after([0]) == pytest.approx(
        [
            0.5 * unigram[0],
            (2 - 1) / 3 + 0.5 * unigram[1],
            (1 - 0.5) / 3 + 0.5 * unigram[2],
            0.5 * unigram[3],
        ]
    )
    logs = model.log_probabilities([np.array([0])])
    start = (2 - 1) / 2 + 0.5 * unigram[0]
    assert np.exp(logs) == pytest.approx([start, 0.5 * unigram[3]])
    assert model.perplexity([np.array([0])]) == pytest.approx(
        math.exp(-0.5 * (math.log(start) + math.log(0.5 * unigram[3])))
    )


@pytest.mark.parametrize(("eos", "order"), [(0, 1), (0, 3), (None, 2), (None, 4)])
def test_it_is_the_model_counted_one_by_one(eos, order):
    texts, held = documents(0, 60, 25), documents(1, 10, 25)
    model = fit(texts, 30, eos=eos, order=order)
    slow = by_dictionary(texts, 30, eos, order)
    begin = 30 if eos is None else eos
    expected = []
    for text in held:
        row = [begin] * (order - 1) + text.tolist() + ([] if eos is None else [eos])
        expected += [slow(row[i - order + 1 : i], row[i]) for i in range(order - 1, len(row))]
    assert np.exp(model.log_probabilities(held)) == pytest.approx(expected)


def test_probabilities_sum_to_one_after_any_context():
    model = fit(documents(0, 80, 40), 50, eos=0)
    for context in ([], [0], [1, 2], [1, 1], [3, 49], [49, 48], [7, 0], [5, 4, 3, 2, 1]):
        found = model.after(context)
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert found.min() > 0  # Tokens 41 to 49 never occurred.
    assert model.after([5, 4, 3, 2, 1]) == pytest.approx(model.after([2, 1]))


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"document 1 has tokens from 1 to 9.*0 to 8"):
        fit([np.array([1]), np.array([1, 9])], 9)
    with pytest.raises(ValueError, match=r"tokens from -1 to 3"):
        fit(documents(0, 5, 9), 9).perplexity([np.array([-1, 3])])
    with pytest.raises(ValueError, match="no tokens to count"):
        fit([np.array([], np.int32)], 9)
    with pytest.raises(ValueError, match="take a lower order"):
        fit(documents(0, 5, 9), 10**7, order=3)


def english() -> list[list[str]]:
    """Docstrings of some modules of the standard library, as words."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = []
    for file in sorted(folder.glob("*.py"))[:90]:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                texts.append(re.findall(r"\w+|[^\w\s]", text.lower()))
    return [text for text in texts if text]


def test_perplexity_falls_with_the_order_on_real_text():
    texts = english()
    common = Counter(word for text in texts[::2] for word in text).most_common(2000)
    number = {word: i + 2 for i, (word, _) in enumerate(common)}
    numbered = [np.array([number.get(word, 1) for word in text]) for text in texts]
    train, held = numbered[::2], numbered[1::2]
    one, two, three = (fit(train, 2002, eos=0, order=n).perplexity(held) for n in (1, 2, 3))
    assert three < 0.95 * two < 0.5 * one < 0.25 * 2002
    # Text that was counted is no surprise.
    assert fit(train, 2002, eos=0).perplexity(train) < 0.5 * three


def test_half_a_million_tokens_take_seconds():
    rng = np.random.default_rng(0)
    tokens = np.minimum(rng.zipf(1.2, 500_000), 29_999)
    begin = time.process_time()
    model = fit([tokens], 30_000, eos=0)
    model.perplexity([tokens[:50_000]])
    assert time.process_time() - begin < 15
