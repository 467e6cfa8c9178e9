"""Heads in the form of the weights' origin: each goes out as that library's class for sequences."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.hub.foreign_folder import as_foreign
from tlearn.hub.tables.published_heads import published_head
from tlearn.model import Model, initialise

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAMILIES = ["hf_bert", "hf_albert", "hf_roberta", "hf_electra", "hf_distilbert", "hf_gpt2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_goes_out_as_a_class_for_sequences(family):
    source = hub.load(f"hf:{FIXTURES / family}")
    config = dict(source.body)
    if config.get("pooling") not in ("pooler", "first", "last"):
        config["pooling"] = "pooler" if family in ("hf_bert", "hf_albert") else "first"
    body = bodies.build(config)
    head = published_head(source.provenance, body.feature_width) | {"classes": 3}
    shapes = [jax.ShapeDtypeStruct((1, 4), jnp.int32)] * len(body.inputs)
    drawn, _ = initialise(Model(body, heads.build(head)), jax.random.key(0), *shapes)
    made = dataclasses.replace(
        source,
        params={path: np.asarray(value) for path, value in drawn.items()},
        body=bodies.describe(body),
        head=heads.describe(heads.build(head)),
        label_names=("a", "b", "c"),
    )
    assert as_foreign(made, "hf").architecture.endswith("ForSequenceClassification")


def test_what_comes_from_nowhere_gets_a_plain_head():
    assert published_head({}, 8) == {"family": "linear"}
