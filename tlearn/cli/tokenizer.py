"""The verb that makes a vocabulary."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

from tlearn.cli.main import Refused
from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """What to count, and what becomes of it."""

    corpus: str
    """Texts: text:DIR, lines:FILE, jsonl:FILE, wikitext:FILE, embedded:stdlib, ..., joined by +."""
    out: str
    """Folder of the tokenizer's files."""
    kind: Literal["wordpiece", "bpe", "unigram", "word"] = "wordpiece"
    """Pieces of words as BERT, GPT-2 or T5 have them, or whole words."""
    vocab_size: int = 8000
    """Tokens at most, special ones included."""
    case: Literal["auto", "lower", "keep"] = "auto"
    """Whether capitals are lowered; auto keeps them for bpe alone."""
    special: tuple[str, ...] = ()
    """Special tokens beside those of the kind, as in cls=[CLS] sep=[SEP] mask=[MASK], which ALBERT
    has among its unigrams."""
    sentinels: int = 0
    """Tokens that stand for spans, as T5's spans need: 100 in the paper."""
    characters: int = 200_000_000
    """Characters that are counted at most, spread evenly over the corpus."""
    text_field: str = ""
    """Field or column of the texts; empty for the usual names."""
    errors: Literal["strict", "replace"] = "strict"
    """Whether bytes that are no UTF-8 are refused or replaced."""
    split: str = ""
    """Split of a dataset that is read; empty for train. Behind @ a corpus may name its own."""
    held_out: str = ""
    """A dataset whose test texts are left out of the corpus, as in embedded:scipy."""
    held_out_split: str = "test"
    """Its split."""


def tokenizer(args: Sequence[str]) -> int:
    """Trains a tokenizer on a corpus."""
    o = read(TokenizerOptions, args, verb="tokenizer", about="Train a tokenizer on a corpus.")
    if o.vocab_size < 1 or o.characters < 1:
        raise Refused(
            f"vocab_size is {o.vocab_size} and characters is {o.characters}; both must be positive"
        )
    from tlearn.data import CorpusOptions, DataError, HeldOut, open_corpus, open_texts
    from tlearn.data import save_tokenizer as save
    from tlearn.data import train_tokenizer as train
    from tlearn.data.tokenizer_training import read_special
    from tlearn.runs.counted import Counted

    try:
        special = read_special(o.special)
    except DataError as error:
        raise Refused(str(error)) from None
    held_out = HeldOut.of(open_texts(o.held_out, o.held_out_split)) if o.held_out else None
    options = CorpusOptions(text_field=o.text_field, errors=o.errors, split=o.split)
    corpus = open_corpus(o.corpus, options, held_out=held_out)
    with Counted("documents") as progress:
        made = train(
            corpus,
            o.kind,
            o.vocab_size,
            lowercase=o.kind != "bpe" if o.case == "auto" else o.case == "lower",
            special=special,
            sentinels=o.sentinels,
            characters=o.characters,
            progress=progress,
        )
    for path in save(made, o.out):
        sys.stdout.write(f"  {path.name}  {path.stat().st_size:,} bytes\n")
    if corpus.left_out is not None:
        sys.stdout.write(f"held out: {corpus.left_out:,} documents or docstrings left out\n")
    sys.stdout.write(f"{o.out}: {o.kind}, {made}\n")
    return 0
