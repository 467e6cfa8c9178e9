"""The task that a run on a corpus means: stores, rows, objective and head out of a config."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlearn import hub
from tlearn.bodies.facts import TextFacts
from tlearn.data import DataError, Tokenizer, open_texts
from tlearn.data.corpus_opening import CorpusOptions, open_corpus
from tlearn.data.held_out import HeldOut
from tlearn.data.joined_batches import rows_of_each
from tlearn.data.joined_store import with_replay
from tlearn.data.masking import Masking
from tlearn.data.token_store import TokenStore, build_store, split_store
from tlearn.runs.config import RunConfig, replace
from tlearn.runs.made_by import config_of
from tlearn.runs.objective_config import SOURCE, ObjectiveConfig
from tlearn.tasks.carving import read_share
from tlearn.tasks.language import LanguageTask, goal_of, head_of
from tlearn.tasks.row_making import Rows, sentinels_of

Progress = Callable[[int, int], None]
_GENERATOR_MASK = 0.85
"""ELECTRA leaves 15 % of the chosen tokens as they are and replaces none at random."""


def language_task(
    config: RunConfig,
    source: hub.Source | None,
    body: Any,
    facts: TextFacts,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
) -> LanguageTask:
    """Makes the task of a run on a corpus.

    Args:
        config: The run; its ``data`` is a corpus, ``validation`` a share of its documents or a
            corpus, ``test_split`` a corpus.
        source: What it starts from, whose head may go on.
        body: The body, which says whether a state is carried.
        facts: What the body takes.
        tokenizer: Makes the tokens.
        progress: Called with (documents done, 0) while a token store is built.

    Raises:
        ValueError: If the corpus, the tokenizer and the body do not go together.
    """
    asked, data = config.objective, config.data
    check_body(config, body, facts, tokenizer.size)
    # Before the tokens are made, which may take long.
    rows = rows_of(config, body, facts, dict(tokenizer.special), sentinels_of(tokenizer))
    penalised = asked.activation_penalty > 0 or asked.change_penalty > 0
    head = head_of(
        asked.objective, body, asked.also, penalised=penalised, generator=asked.generator
    )
    if config.head.head_weights == "source":
        head = _kept(config, source, head)
    held = held_out(asked.held_out)

    told: list[str] = []

    def opened(spec: str, held: HeldOut | None, split: str = "") -> TokenStore:
        found = store_of(config, spec, tokenizer, held, split, progress)
        if held is not None:
            told.append(_held_back(found, len(held)))
        return found

    train, validation = _carved(config, opened, held)
    if train.origin != "reopened":
        told.append(f"token store: {train.origin}")
    if asked.replay:
        own = len(train.tokens)
        general = opened(asked.replay, held)
        train = with_replay(train, general, asked.replay_share, config.train.seed)
        told.append(_replayed(asked, 1 - own / len(train.tokens)))
    test = opened(data.test_split, None) if data.test_split else None
    if asked.remember == SOURCE:
        remember = judged_on(config, source, tokenizer)
    else:
        remember = opened(asked.remember, held) if asked.remember else None
    if asked.also:
        told.append(_beside(config))
    return LanguageTask(
        train=train,
        validation=validation,
        test=test,
        facts=facts,
        tokenizer=tokenizer,
        rows=rows,
        goal=goal_of(
            asked.objective,
            asked.also,
            activation_penalty=asked.activation_penalty,
            change_penalty=asked.change_penalty,
        ),
        head=head,
        remember=remember,
        told=tuple(told),
    )


def parts_of(config: RunConfig) -> tuple[TokenStore, TokenStore, int | None]:
    """Training and validation tokens of a run as they were, and what ends a document.

    Raises:
        ValueError: If the run had no validation part.
    """
    from tlearn.runs.initial import load_source
    from tlearn.runs.text_bodies import tokenizer_of

    tokenizer = tokenizer_of(config, load_source(config, read=False))
    train, validation = _parts(config, tokenizer)
    special = dict(tokenizer.special)
    return train, validation, special.get("eos", special.get("sep"))


def _parts(config: RunConfig, tokenizer: Tokenizer) -> tuple[TokenStore, TokenStore]:
    """Training and validation tokens of a run; as another tokenizer makes them, the same texts."""

    def opened(spec: str, held: HeldOut | None, split: str = "") -> TokenStore:
        return store_of(config, spec, tokenizer, held, split)

    train, validation = _carved(config, opened, held_out(config.objective.held_out))
    if validation is None:
        raise ValueError("the run had no validation part")
    return train, validation


def _carved(
    config: RunConfig, opened: Callable[..., TokenStore], held: HeldOut | None
) -> tuple[TokenStore, TokenStore | None]:
    """Training tokens, and those of the corpus or share of documents that is judged on."""
    data = config.data
    train = opened(data.data, held, data.train_split)
    share = read_share(data.validation)
    if share is None:
        return train, opened(data.validation, held)
    return split_store(train, share, config.train.seed) if share else (train, None)


def judged_on(config: RunConfig, source: hub.Source | None, tokenizer: Tokenizer) -> TokenStore:
    """What a source's own run was judged on, which it has not learned.

    Args:
        config: The run that starts from the source.
        source: The source.
        tokenizer: Makes the tokens.

    Raises:
        ValueError: If the source is no run on a corpus, or was judged on nothing.
    """
    was = config_of(source) if source is not None else None
    if was is None or was.objective.objective == "labels":
        raise ValueError(
            f"remember=source is what the source's own run was judged on, and "
            f"{config.source or 'no source'} is no run on a corpus: name a corpus"
        )
    try:
        return _parts(replace(was, stores=config.objective.stores), tokenizer)[1]
    except ValueError as error:
        raise ValueError(f"remember=source, {config.source}: {error}; name a corpus") from error


def _held_back(store: TokenStore, texts: int) -> str:
    """Says how much of a corpus was left out for the texts that are held out."""
    if store.left_out is None:
        count, uncounted = "documents", " (its store is from before they were counted)"
    else:
        count, uncounted = f"{store.left_out:,} documents or docstrings", ""
    return f"held out: {count} of {store.name} left out for {texts:,} texts{uncounted}"


def _replayed(asked: ObjectiveConfig, share: float) -> str:
    """Says how much is replayed; a small corpus may not hold what was asked for."""
    told = f"replayed: {asked.replay}, {share:.1%} of the tokens"
    if share < 0.9 * asked.replay_share:
        told += f": it has no more, {asked.replay_share:.0%} was asked for"
    return told


def _beside(config: RunConfig) -> str:
    """Says how many rows of a batch the second objective has: a share is told to the nearest."""
    size = config.train.batch_size
    _, second = rows_of_each(size, config.objective.also_share)
    return f"{config.objective.also}: {second} of the {size} rows of a batch ({second / size:.1%})"


def _kept(config: RunConfig, source: hub.Source | None, head: dict[str, Any]) -> dict[str, Any]:
    """The source's own head, where it predicts the same."""
    there = dict(source.head) if source is not None and source.head is not None else {}
    if there.get("family") != head["family"]:
        raise ValueError(
            f"head_weights=source, and {config.objective.objective} needs a head of the kind "
            f"{head['family']}; {config.source} carries "
            f"{there.get('family', 'none')}: say --head-weights fresh"
        )
    # Whether activations are handed on is the loss's affair, not the weights'.
    return there | {name: head[name] for name in ("activations",) if name in head}


def rows_of(
    config: RunConfig,
    body: Any,
    facts: TextFacts,
    marks: dict[str, int],
    sentinels: tuple[int, ...],
) -> Rows:
    """How a run's rows are made, with the special tokens by what they are for."""
    asked = config.objective
    masking = Masking(rate=asked.mask_rate, unit=asked.mask_unit, fixed=asked.masks)
    if asked.objective == "replaced_tokens":
        masking = dataclasses.replace(masking, mask=_GENERATOR_MASK, random=0.0)
    return Rows(
        objective=asked.objective,
        length=asked.row_length,
        form=_form(asked, body),
        backward=bool(facts.backward),
        masking=masking,
        span_length=asked.span_length,
        marks=marks,
        sentinels=sentinels,
        start=facts.token("start"),
        also=asked.also,
        also_share=asked.also_share,
    )


def _form(asked: ObjectiveConfig, body: Any) -> str:
    """The form of rows of next tokens that is asked for, or that goes with a body."""
    if asked.rows != "auto":
        return asked.rows
    return "streams" if hasattr(body, "initial_carry") else "packed"


def store_of(
    config: RunConfig,
    spec: str,
    tokenizer: Tokenizer,
    held: HeldOut | None,
    split: str = "",
    progress: Progress | None = None,
) -> TokenStore:
    """Opens the token store of a corpus, building it where there is none yet.

    Args:
        config: The run, which says how corpora are read and where stores lie.
        spec: The corpus.
        tokenizer: Makes the tokens.
        held: Texts that it may not hold.
        split: Which of its splits, where none is named behind ``@``.
        progress: Called with (documents done, 0) while it is built.
    """
    folder = config.objective.stores or "~/.cache/tlearn/stores"
    data = config.data
    options = CorpusOptions(text_field=data.text_column, errors=data.errors, split=split)
    corpus = open_corpus(spec, options, held_out=held)
    return build_store(corpus, tokenizer, Path(folder).expanduser(), progress=progress)


def held_out(specs: tuple[str, ...]) -> HeldOut | None:
    """The texts that no corpus may hold, out of ``DATASET@SPLIT`` names; None for none.

    Raises:
        DataError: If a name lacks its split, or is no dataset of texts.
    """
    if not specs:
        return None
    problems = [spec for spec in specs if not spec.rpartition("@")[0]]
    if problems:
        raise DataError(
            f"held_out {', '.join(problems)}: name a dataset and its split, as in text:DIR@test"
        )
    opened = (spec.rpartition("@") for spec in specs)
    return HeldOut.of(*(open_texts(name, split) for name, _, split in opened))


def check_body(config: RunConfig, body: Any, facts: TextFacts, tokens: int) -> None:
    """Refuses a body that cannot learn this from so many kinds of tokens, before any is read."""
    asked = config.objective
    problems = []
    wanted = {"span_corruption": True, "prefix_lm": True}.get(asked.objective, False)
    if ("decoder_tokens" in body.inputs) != wanted:
        problems.append(
            f"{asked.objective} is for a body with{'' if wanted else 'out'} a decoder of its own, "
            f"and {type(body).__name__} reads {', '.join(body.inputs)}"
        )
    causal = type(body).family in ("gpt", "awd_lstm")
    if asked.objective == "next_tokens" and not causal:
        problems.append(
            f"next_tokens needs a body that does not see what follows (gpt2, awd-lstm), not "
            f"{type(body).__name__}; use masked_tokens"
        )
    if asked.objective not in ("next_tokens", "span_corruption", "prefix_lm") and causal:
        problems.append(
            f"{asked.objective} needs a body that sees both sides (bert-tiny, ...), not "
            f"{type(body).__name__}; use next_tokens"
        )
    if asked.rows == "streams" and not hasattr(body, "initial_carry"):
        problems.append(f"rows=streams: {type(body).__name__} carries no state; use rows=packed")
    form = _form(asked, body) if asked.objective == "next_tokens" else ""
    if facts.backward and form != "streams":
        problems.append(
            f"{f'rows={form}' if form else asked.objective}: such rows are read forward, and the "
            "body reads texts backward; that needs next_tokens in rows=streams"
        )
    if facts.max_length is not None and asked.row_length > facts.max_length:
        problems.append(
            f"row_length {asked.row_length} is beyond the {facts.max_length} positions of the body"
        )
    if tokens > facts.vocab_size:
        problems.append(
            f"the tokenizer numbers its tokens up to {tokens - 1}, the body has rows for "
            f"{facts.vocab_size}"
        )
    if problems:
        raise ValueError("this cannot be learned:\n  " + "\n  ".join(problems))
