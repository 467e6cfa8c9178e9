"""The training steps that batches of texts are made for, of small and of published bodies."""

from collections.abc import Callable
from typing import Any

from batch_kinds import CLASSES, VOCABULARY

# As the pipelines that need no download have them, but for their vocabularies.
_SMALL = {"width": 128, "depth": 2, "heads": 4, "feed_forward": 512}
BODIES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "demo": {
        "awd_lstm": ("awd-lstm", {"width": 160, "depth": 1, "dropout_scale": 0.2}),
        "gpt": ("gpt2", _SMALL | {"positions": 128}),
        "bert": ("bert-tiny", _SMALL | {"positions": 128}),
        "electra": ("bert-tiny", _SMALL | {"positions": 128}),
        "t5": ("t5-small", _SMALL | {"decoder_depth": 2, "head_size": 32}),
    },
    "base": {
        "awd_lstm": ("awd-lstm", {}),
        "gpt": ("gpt2", {}),
        "bert": ("bert-base", {}),
        "electra": ("electra-base", {}),
        "t5": ("t5-base", {}),
    },
}
"""By size and family: a published variant, and what is different from it."""

FAMILIES = {
    "streams": "awd_lstm",
    "packed": "gpt",
    "masked_tokens": "bert",
    "pairs": "bert",
    "replaced_tokens": "electra",
    "span_corruption": "t5",
    "prefix_lm": "t5",
    "labels": "bert",
}
"""The family of the body that takes a step."""


def body_of(step: str, size: str) -> Any:
    """The body that takes a step."""
    from tlearn import bodies

    family = FAMILIES[step]
    variant, different = BODIES[size][family]
    if family == "awd_lstm":
        # Rows are cut as asked for.
        different = different | {"bptt": 0}
    return bodies.create(variant, **different, vocab_size=VOCABULARY)


def goal_and_head(step: str, body: Any) -> tuple[Any, Any]:
    """What is learned, and the head that it needs."""
    from tlearn import heads, objectives
    from tlearn.heads.replaced_training import training_head

    if step == "streams":
        return objectives.NextTokens(), heads.create("causal_lm", use_bias=True)
    if step == "packed":
        return objectives.NextTokens(), heads.create("causal_lm")
    if step == "masked_tokens":
        return objectives.MaskedTokens(), heads.create("masked_lm")
    if step == "pairs":
        return objectives.MaskedPairs(), heads.create("pretraining")
    if step == "replaced_tokens":
        return objectives.ReplacedTokens(), training_head(body)
    if step in ("span_corruption", "prefix_lm"):
        return objectives.Seq2Seq(), heads.create("causal_lm", scaled=True)
    return objectives.Classification(CLASSES), heads.Linear(CLASSES, kernel_init="scaled")


def training(step: str, size: str, given: dict[str, Any]) -> Callable[[], None]:
    """The library's training step on one batch that lies there, as a call without arguments."""
    import jax
    import jax.numpy as jnp

    from tlearn.model import initialise
    from tlearn.replaced import joined
    from tlearn.train.schedules import Constant
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe, compile_step, make_step
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    body = body_of(step, size)
    goal, head = goal_and_head(step, body)
    model = joined(body, head)
    batch = {name: jnp.asarray(value) for name, value in given.items()}
    params, _ = initialise(model, jax.random.key(0), *(batch[name][:1] for name in body.inputs))
    optimizer = adamw(1e-4, Constant())
    rows = plan(params, Strategy(), layers=body.layer_names)
    recurrent = getattr(body, "initial_carry", None)
    carry = recurrent(len(given["tokens"])) if recurrent else None
    key = jax.random.key(1)
    state = init(rows, params, {}, optimizer, total=1000, key=key, carry=carry)
    program = compile_step(make_step(model, rows, goal, Recipe(optimizer=optimizer)))
    holder = {"state": state}

    def run() -> None:
        holder["state"], _ = program(holder["state"], batch, SourceWeights())
        jax.block_until_ready(holder["state"])

    return run
