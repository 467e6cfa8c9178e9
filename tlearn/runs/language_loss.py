"""What a run's steps compute beside its labels: the next tokens of the labelled texts."""

from typing import Any

from tlearn import heads, hub
from tlearn.heads.beside_labels import BesideLabels
from tlearn.heads.causal_lm import CausalLM
from tlearn.model import Model
from tlearn.objectives import LabelsAndNextTokens
from tlearn.runs.config import RunConfig
from tlearn.train.step import Objective

READER = "gpt"
"""The family that reads from left to right and scores words by its own table: GPT and GPT-2."""


def taught(config: RunConfig, model: Model, objective: Objective) -> tuple[Model, Objective]:
    """Model and objective of the training steps, made of those that a run is judged by."""
    weight = config.objective.language_loss
    if not weight:
        return model, objective
    return Model(model.body, BesideLabels(model.head)), LabelsAndNextTokens(objective, weight)


def check_language_loss(config: RunConfig, body: Any, source: hub.Source | None) -> None:
    """Refuses a language loss where no weights of the body's own predict next tokens.

    Raises:
        ValueError: If the body does not, or its source has a head for it that nothing would read.
    """
    weight = config.objective.language_loss
    if not weight:
        return
    if body.family != READER:
        raise ValueError(
            f"language_loss is {weight:g}, and a body of the family {body.family!r} does not score "
            f"next tokens by its own embedding: give 0, or a GPT or GPT-2"
        )
    head = heads.build(source.head) if source and source.head else None
    if isinstance(head, CausalLM) and (head.use_bias or not head.tied):
        raise ValueError(
            f"language_loss is {weight:g} and scores next tokens by the body's embedding alone, "
            f"and {config.source} has a head of its own for them: give 0"
        )
