"""Texts of a few words, and a tokenizer that knows them: what tests of texts share."""

import json

import numpy as np

from tlearn.data import TextDataset, Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = tuple("the a cat dog bird sat ran saw on in under red blue old new house tree".split())
PIECES = (*SPECIAL, *WORDS, "##s", "##ing", ".", ",", "not")
FILES = {
    "vocab.txt": ("\n".join(PIECES) + "\n").encode(),
    "tokenizer_config.json": json.dumps({"do_lower_case": True}).encode(),
}


def tokenizer() -> Tokenizer:
    return Tokenizer.from_files(FILES)


def sentences(count: int, seed: int = 0, longest: int = 20) -> list[str]:
    """Sentences of 1 to ``longest`` words; a few occur twice."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest + 1))) for _ in range(count)]


def dataset(count: int, seed: int = 0, *, pairs: bool = False, longest: int = 20) -> TextDataset:
    """Sentences labelled by whether they have a cat in them."""
    texts = sentences(count, seed, longest)
    labels = [int("cat" in text.split()) for text in texts]
    second = sentences(count, seed + 1000, longest) if pairs else None
    return TextDataset(texts, labels, ("no", "yes"), pairs=second, name="animals")


def numbers(count: int, seed: int = 0) -> TextDataset:
    """Pairs with the share of words that they have in common, times five."""
    pairs = dataset(count, seed, pairs=True)
    assert pairs.pairs is not None
    both = [(set(a.split()), set(b.split())) for a, b in zip(pairs.texts, pairs.pairs, strict=True)]
    scores = [5 * len(a & b) / len(a | b) for a, b in both]
    return TextDataset(pairs.texts, scores, pairs=pairs.pairs, name="likeness")


def write_tsv(file, data: TextDataset) -> None:
    """Writes a dataset as a table with a header line."""
    names = data.label_names
    lines = ["sentence1\tsentence2\tlabel" if data.pairs is not None else "text\tlabel"]
    for index in range(len(data)):
        label = names[data.labels[index]] if names else f"{data.labels[index]:.3f}"
        second = [] if data.pairs is None else [data.pairs[index]]
        lines.append("\t".join([data.texts[index], *second, label]))
    file.write_text("\n".join(lines) + "\n")
