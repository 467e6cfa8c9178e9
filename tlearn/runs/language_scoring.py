"""A language model's loss and perplexity on a corpus, in the rows it was trained with."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tlearn.bodies.facts import TextFacts
from tlearn.data import Tokenizer
from tlearn.data.token_store import TokenStore
from tlearn.hub import Source
from tlearn.model import Model
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.corpora import Progress, rows_of, store_of
from tlearn.runs.made_by import config_of
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.text_bodies import facts_of, tokenizer_of
from tlearn.tasks.language import LanguageTask, goal_of
from tlearn.tasks.row_making import sentinels_of
from tlearn.train.evaluate import EvalStep, Evaluation, evaluate, make_eval_step

_OBJECTIVES = {
    "causal_lm": "next_tokens",
    "masked_lm": "masked_tokens",
    "pretraining": "next_sentence",
    "replaced_token_training": "replaced_tokens",
}
"""What a head was trained on, where neither its run nor its body says otherwise."""


def scores_texts(source: Source) -> bool:
    """Whether a source's head predicts parts of texts rather than labels."""
    return (source.head or {}).get("family") in _OBJECTIVES


def score_corpus(
    model: Model,
    source: Source,
    params: Any,
    statistics: Any,
    data: str,
    *,
    batch_size: int,
    split: str = "",
    text_column: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates a language model on a corpus.

    Args:
        model: Body and head.
        source: The weights and what travels with them: for a run of tlearn its rows too.
        params: Parameters by path.
        statistics: Statistics by path.
        data: The corpus.
        batch_size: Rows at a time.
        split: Which of its splits, where ``data`` names none behind ``@``; empty for ``train``.
        text_column: Field or column of the texts; empty for that of the run.
        progress: Called with (documents done, 0) while its tokens are made.

    Raises:
        ValueError: If the corpus cannot be read, or the tokenizer lacks what rows need.
    """

    def opened(config: RunConfig, tokenizer: Tokenizer) -> TokenStore:
        config = replace(config, text_column=text_column) if text_column else config
        return store_of(config, data, tokenizer, None, split, progress)

    task = scoring_task(source, model.body, opened)
    return score_rows(model, task, params, statistics, batch_size=batch_size)


def scoring_task(
    source: Source,
    body: Any,
    opened: Callable[[RunConfig, Tokenizer], TokenStore],
    *,
    tokenizer: str = "",
    stores: str = "",
) -> LanguageTask:
    """What a source's own head is asked on a corpus: rows as its run had them, and the loss.

    Args:
        source: The weights and what travels with them.
        body: Its body.
        opened: Opens the corpus, given how the source's run read corpora, and its tokenizer.
        tokenizer: Folder of the tokenizer, where none travels with the weights.
        stores: Folder where corpora are kept as tokens; empty for the usual one.

    Raises:
        ValueError: If the corpus cannot be read, or the tokenizer lacks what rows need.
    """
    config = replace(_config(source, body), tokenizer=tokenizer, stores=stores)
    made_by = tokenizer_of(config, source)
    facts = facts_of(config, source, made_by)
    store = opened(config, made_by)
    return LanguageTask(
        train=store,
        validation=None,
        test=None,
        facts=facts,
        tokenizer=made_by,
        rows=rows_of(config, body, facts, dict(made_by.special), sentinels_of(made_by)),
        goal=goal_of(config.objective.objective, config.objective.also),
        head=dict(source.head or {}),
    )


def score_rows(
    model: Model,
    task: LanguageTask,
    params: Any,
    statistics: Any,
    *,
    batch_size: int,
    step: EvalStep | None = None,
    place: Callable[[dict[str, np.ndarray]], Any] = dict,
) -> Evaluation:
    """Evaluates a language model on a task's corpus, each row once.

    Args:
        model: Body and head.
        task: The corpus, from `scoring_task`.
        params: Parameters by path.
        statistics: Statistics by path.
        batch_size: Rows at a time.
        step: The model's and the task's evaluation step, kept where it is asked again; made if
            None.
        place: Puts a batch on the devices.
    """
    batches = task.eval_batches(task.train, batch_size)
    body: Any = model.body
    found = evaluate(
        step or make_eval_step(model, task.objective, task.kept),
        params,
        statistics,
        batches,
        expected=batches.examples_per_epoch,
        place=place,
        unit=task.unit,
        carry=body.initial_carry(batch_size) if task.streams else None,
    )
    more = task.metrics(found.predictions, found.labels)
    return dataclasses.replace(found, metrics=found.metrics | more)


def _config(source: Source, body: Any) -> RunConfig:
    """How the rows were made: as its run had them, or as is usual for its head."""
    config = config_of(source)
    if config is not None and config.objective.objective != "labels":
        # Its own tokenizer goes with the weights; the folders it came from may be gone.
        here = {"tokenizer": "", "stores": "", "vocabulary": "strict", "direction": "forward"}
        return replace(config, **here)
    facts = source.facts
    longest = facts.max_length if isinstance(facts, TextFacts) else None
    length = min(128, longest or 128)
    return RunConfig(
        data=DataConfig(data=""),
        objective=ObjectiveConfig(objective=_usual(source, body), row_length=length),
    )


def _usual(source: Source, body: Any) -> Any:
    """What a head above such a body is trained on by everybody."""
    if "decoder_tokens" in body.inputs:
        return "span_corruption"
    found = _OBJECTIVES[(source.head or {})["family"]]
    # The same head as BERT's, asked another question (Lan et al. 2020, section 3.1).
    ordered = found == "next_sentence" and source.body["family"] == "albert"
    return "sentence_order" if ordered else found
