"""What a run's steps compute beside its labels: next tokens, or a second pass to compare with."""

import dataclasses
from typing import Any

from tlearn import heads, hub
from tlearn.heads.beside_labels import BesideLabels
from tlearn.heads.causal_lm import CausalLM
from tlearn.model import Model
from tlearn.objectives import ConsistentLabels, LabelsAndNextTokens
from tlearn.runs.config import RunConfig
from tlearn.tasks import Task
from tlearn.train.step import Objective
from tlearn.two_passes import TwoPasses

READER = "gpt"
"""The family that reads from left to right and scores words by its own table: GPT and GPT-2."""


def taught(config: RunConfig, model: Model, objective: Objective) -> tuple[Model, Objective]:
    """Model and objective of the training steps, made of those that a run is judged by."""
    asked = config.objective
    if asked.language_loss:
        beside = BesideLabels(model.head)
        return Model(model.body, beside), LabelsAndNextTokens(objective, asked.language_loss)
    if asked.consistency:
        return TwoPasses(model.body, model.head), ConsistentLabels(objective, asked.consistency)
    return model, objective


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


def check_consistency(config: RunConfig, task: Task, body: Any) -> None:
    """Refuses a second pass where it could only repeat the first, or has no answers to compare.

    Raises:
        ValueError: If nothing that trains drops anything, or the labels are numbers.
    """
    weight = config.objective.consistency
    if not weight:
        return
    chances = {
        field.name: getattr(body, field.name)
        for field in dataclasses.fields(body)
        if "dropout" in field.name
    }
    drops = config.strategy.freeze != "body" and any(chances.values())
    if not drops and not config.head.head_dropout:
        found = ", ".join(f"{name} {value:g}" for name, value in chances.items()) or "none"
        raise ValueError(
            f"consistency is {weight:g} and compares two passes with other dropout, and nothing "
            f"that trains drops anything (head_dropout 0; the body has {found}, freeze "
            f"{config.strategy.freeze}): give head_dropout, or consistency 0"
        )
    if not task.label_names:
        raise ValueError(
            f"consistency is {weight:g} and compares chances of classes, and the labels are "
            "numbers: give 0"
        )
