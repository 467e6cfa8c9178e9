"""Pipelines that need no download: three stages on the documentation that Python installs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import Objective, ObjectiveConfig
from tlearn.runs.pipeline import Pipeline, RunStage, StudyStage, TokenizerStage
from tlearn.runs.study import Factor, Study

PYTHON = "embedded:stdlib"
PACKAGES = "+".join(
    (PYTHON, *(f"embedded:{name}" for name in ("numpy", "jax", "flax", "optax", "transformers")))
)
"""Python's own documentation and that of what tlearn needs: four times as many words, and more of
them about what scipy is about. More than an LSTM learns in ten minutes."""
DOMAIN, TASK = "embedded:scipy", "embedded:scipy"
HELD_OUT = (f"{TASK}@test",)
AMOUNTS, SHOWN = (20, 50, 200), 50


def _stages(
    *,
    general: str,
    vocabulary: int,
    body: str,
    settings: tuple[str, ...],
    objective: Objective,
    row_length: int,
    batch_size: int,
    rate: float,
    lengths: tuple[str, str],
    adapt_rate: float,
    tokenizer: str,
    tuning: Mapping[str, Any],
    rates: tuple[float, ...],
    title: str,
    **more: Any,
) -> tuple[Any, ...]:
    """A tokenizer, pre-training on general text, adaptation to the domain, and labels."""
    asked = ObjectiveConfig(
        objective=objective,
        row_length=row_length,
        held_out=HELD_OUT,
    )
    base = replace(
        RunConfig(data=DataConfig(data=general), objective=asked),
        body=body,
        settings=settings,
        tokenizer="stage:tokenizer",
        validation="5%",
        optimizer="adamw",
        rate=rate,
        schedule="linear:warmup=5%",
        weight_decay=0.01,
        clip=1.0,
        batch_size=batch_size,
        length=lengths[0],
        report_every=50,
        checkpoint_every=200,
        **more,
    )
    adapted = replace(
        base,
        data=dataclasses.replace(base.data, data=DOMAIN),
        body=RunConfig(data=base.data).body,
        source="stage:pretrain",
        head=HeadConfig(head_weights="source"),
        objective=dataclasses.replace(base.objective, remember="source"),
        rate=adapt_rate,
        length=lengths[1],
    )
    pieces = TokenizerStage(
        name="tokenizer", corpus=general, kind=tokenizer, vocab_size=vocabulary, held_out=HELD_OUT
    )
    return (
        pieces,
        RunStage(name="pretrain", run=base),
        RunStage(name="adapt", run=adapted),
        StudyStage(name="labels", study=_labels(tuning, rates, title)),
    )


def _labels(tuning: Mapping[str, Any], rates: tuple[float, ...], title: str) -> Study:
    """Few and more labels from scratch, from general text, and from the domain's text as well.

    Every arm takes the rate that is best for it on validation.
    """
    base = RunConfig(
        data=DataConfig(data=TASK, validation="10%", test_split="test"), source="stage:pretrain"
    )
    base = replace(
        base,
        optimizer="adamw",
        schedule="slanted-triangular",
        head_init="scaled",
        batch_size=16,
        max_length=48,
        widths="48",
    )
    return Study(
        name="labels",
        title=title,
        question="What do general text and the domain's own text add, at few and at more labels?",
        base=replace(base, **tuning),
        factors=(
            Factor(
                "stage",
                {
                    "from scratch": {"fresh": "all"},
                    "pre-trained": {},
                    "pre-trained, adapted": {"source": "stage:adapt"},
                },
            ),
            Factor.over("rate", rates, role="nuisance"),
        ),
        seeds=(0, 1, 2, 3, 4),
        pilot_seeds=(100, 101),
        labels=AMOUNTS,
        shown=SHOWN,
        points=1,
        measures=(),
    )


def ulmfit_demo() -> Pipeline:
    """ULMFiT's three stages at a thousandth of its size (Howard and Ruder 2018)."""
    return Pipeline(
        name="ulmfit-demo",
        about=(
            "an AWD-LSTM learns the standard library's documentation, is adapted to scipy's, and "
            "tells which part of scipy a description is from"
        ),
        stages=_stages(
            general=PYTHON,
            vocabulary=3000,
            body="awd-lstm",
            settings=("width=160", "depth=1", "dropout_scale=0.2"),
            objective="next_tokens",
            row_length=20,
            batch_size=16,
            rate=4e-3,
            lengths=("4ep", "4ep"),
            adapt_rate=4e-3,
            tokenizer="bpe",
            tuning={
                # Chosen on a part of the training texts: ULMFiT's own head, which normalises over a
                # batch of 16, tells these few labels worse apart than a plain one on the mean.
                "pooling": "mean",
                "settings": ("dropout_scale=0.5",),
                # Rates that rise toward the embeddings: topics are told by single words here.
                "layer_decay": 2.0,
                "length": "100st",
            },
            rates=(5e-3, 1e-2, 2e-2),
            title="ULMFiT in small: what each stage buys",
        ),
    )


def _blocks(name: str, about: str, title: str, pooling: str, **different: Any) -> Pipeline:
    """The same with two blocks of 128 in place of the LSTM, and more general text."""
    return Pipeline(
        name=name,
        about=about,
        stages=_stages(
            general=PACKAGES,
            vocabulary=5000,
            settings=("width=128", "depth=2", "heads=4", "feed_forward=512", "positions=128"),
            row_length=64,
            batch_size=32,
            tuning={"pooling": pooling, "length": "100st"},
            rates=(5e-4, 1e-3, 2e-3, 4e-3),
            title=title,
            **different,
        ),
    )


def bert_demo() -> Pipeline:
    """BERT's two objectives and the same three stages (Devlin et al. 2019)."""
    return _blocks(
        "bert-demo",
        "the same with a tiny BERT: masked tokens and next sentence",
        "A tiny BERT: what each stage buys",
        # BERT's own way, which next sentence taught. Off the mean over tokens, from scratch does as
        # well as adapted on a part of the training texts.
        pooling="pooler",
        body="bert-tiny",
        objective="next_sentence",
        # Twice BERT's 15 %: of so little text more must be asked (Wettig et al. 2023).
        mask_rate=0.3,
        rate=2e-3,
        adapt_rate=1e-3,
        lengths=("4ep", "4ep"),
        tokenizer="wordpiece",
    )


def gpt_demo() -> Pipeline:
    """A language model of blocks and the same three stages (Radford et al. 2018)."""
    return _blocks(
        "gpt-demo",
        "the same with a tiny GPT-2",
        "A tiny GPT: what each stage buys",
        pooling="mean",
        body="gpt2",
        objective="next_tokens",
        rate=2e-3,
        adapt_rate=1e-3,
        lengths=("1ep", "3ep"),
        tokenizer="bpe",
    )


PRESETS: dict[str, Callable[[], Pipeline]] = {
    "ulmfit-demo": ulmfit_demo,
    "bert-demo": bert_demo,
    "gpt-demo": gpt_demo,
}
"""Pipelines by name."""
