"""From a corpus to labels with every kind of body: learn, be cut off, go on exactly, be tuned."""

import random
import shutil

import numpy as np
import pytest

from tlearn import hub
from tlearn.data.corpus_opening import open_corpus
from tlearn.data.tokenizer_training import save_tokenizer, train_tokenizer
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.training import resume, start

WORDS = "one two three four five six seven eight nine ten".split()
ENCODER = ("width=8", "depth=1", "heads=2", "feed_forward=16", "positions=32")
WAYS = {
    "masked_tokens": ("roberta-base", (*ENCODER, "pooling=first"), "wordpiece"),
    "next_sentence": ("bert-tiny", ENCODER, "wordpiece"),
    "sentence_order": ("albert-base", (*ENCODER, "embedding_width=4"), "albert"),
    "replaced_tokens": ("electra-small", (*ENCODER, "embedding_width=4"), "wordpiece"),
    "span_corruption": (
        "t5-small",
        ("width=8", "depth=1", "decoder_depth=1", "heads=2", "head_size=4", "feed_forward=16"),
        "unigram",
    ),
    "next_tokens": ("gpt2", ENCODER, "bpe"),
}
WAYS["span_corruption+prefix_lm"] = WAYS["span_corruption"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining")
    rng = random.Random(0)
    texts = ["\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(4)) for _ in range(40)]
    (folder / "corpus.txt").write_text("\n\n".join(texts))
    found = open_corpus(f"blank:{folder}/corpus.txt")
    for kind, size in (("wordpiece", 60), ("bpe", 280)):
        save_tokenizer(train_tokenizer(found, kind, size), folder / kind)
    save_tokenizer(train_tokenizer(found, "unigram", 60, sentinels=10), folder / "unigram")
    marks = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    save_tokenizer(train_tokenizer(found, "unigram", 60, special=marks), folder / "albert")
    table = ["text\tlabel"]
    for i in range(40):
        words = rng.choices(WORDS[:5] if i % 2 else WORDS[5:], k=5)
        table.append(f"{' '.join(words)}\t{'low' if i % 2 else 'high'}")
    (folder / "table.tsv").write_text("\n".join(table) + "\n")
    return folder


def said(text):
    pass


_FIRST = ("replaced_tokens", "span_corruption+prefix_lm")
"""Tried on every change; the others share all of their code with runs that other tests make."""


@pytest.mark.parametrize(
    "objective",
    [name if name in _FIRST else pytest.param(name, marks=pytest.mark.slow) for name in WAYS],
)
def test_learned_cut_off_resumed_and_tuned(place, tmp_path, objective):
    body, settings, tokenizer = WAYS[objective]
    first, _, also = objective.partition("+")
    asked = ObjectiveConfig(objective=first, also=also, row_length=24, stores=str(place / "stores"))
    config = replace(
        RunConfig(data=DataConfig(data=f"blank:{place}/corpus.txt"), objective=asked),
        body=body,
        settings=settings,
        tokenizer=str(place / tokenizer),
        optimizer="adamw",
        rate=1e-2,
        batch_size=4,
        length="6st",
        checkpoint_every=2,
        report_every=1,
    )
    whole = start(config, tmp_path / "whole", say=said, quiet=True)
    start(config, tmp_path / "cut", say=said, quiet=True)
    # As a kill after the second checkpoint would leave it.
    for name in ("report", "model", "checkpoints/6"):
        shutil.rmtree(tmp_path / "cut" / name)
    (tmp_path / "cut" / "report.html").unlink()
    again = resume(tmp_path / "cut", say=said, quiet=True)
    learned = hub.load(f"run:{whole.folder}").params
    for path, value in hub.load(f"run:{again.folder}").params.items():
        np.testing.assert_array_equal(value, learned[path], err_msg=path)
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert metrics[0] == metrics[1]

    told: list[str] = []
    tuned = start(
        replace(
            RunConfig(data=DataConfig(data=f"tsv:{place}/table.tsv"), source=f"run:{again.folder}"),
            optimizer="adamw",
            rate=2e-2,
            batch_size=8,
            length="60st",
            validation="25%",
        ),
        tmp_path / "tuned",
        say=told.append,
        quiet=True,
    )
    assert tuned.validation is not None
    assert tuned.validation.metrics["accuracy"] >= 0.9
    alone = any("the encoder alone" in line for line in told)
    assert alone == (first == "span_corruption")
