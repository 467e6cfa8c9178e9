"""Heads in the form of the weights' origin: each goes out as that library's class for sequences."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.hub import HubError
from tlearn.hub.foreign_folder import as_foreign
from tlearn.hub.tables.published_heads import published_head, published_pooling
from tlearn.model import Model, initialise

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAMILIES = [
    *("hf_bert", "hf_albert", "hf_roberta", "hf_electra", "hf_distilbert", "hf_gpt2", "hf_gpt"),
]


def made(source, body, head):
    """A model of a source's body under a drawn head for three labels."""
    built = bodies.build(body)
    shapes = [jax.ShapeDtypeStruct((1, 4), jnp.int32)] * len(built.inputs)
    whole = Model(built, heads.build(head | {"classes": 3}))
    drawn, _ = initialise(whole, jax.random.key(0), *shapes)
    return dataclasses.replace(
        source,
        params={path: np.asarray(value) for path, value in drawn.items()},
        body=bodies.describe(built),
        head=heads.describe(whole.head),
        label_names=("a", "b", "c"),
    )


@pytest.mark.parametrize("known", [True, False], ids=["from there", "made here"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_goes_out_as_a_class_for_sequences(family, known):
    source = hub.load(f"hf:{FIXTURES / family}")
    if not known:
        source = dataclasses.replace(source, provenance={})
    came = source.provenance
    body = {**source.body, "pooling": published_pooling(came, source.body)}
    found = as_foreign(made(source, body, published_head(came, body)), "hf")
    assert found.architecture.endswith("ForSequenceClassification")
    assert found.family == family


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("hf_bert", "--head published --pooling pooler"),
        ("hf_roberta", "--head published --pooling first"),
        ("hf_distilbert", "--head published --pooling first"),
        ("hf_electra", "--head published --pooling first"),
        ("hf_gpt2", "--head published --pooling last"),
        ("hf_gpt", "--head published --pooling last"),
    ],
)
def test_a_refused_export_names_the_options_of_a_run_that_is_not(family, options):
    source = hub.load(f"hf:{FIXTURES / family}")
    mean = made(source, {**source.body, "pooling": "mean"}, {"family": "linear"})
    with pytest.raises(HubError, match=f"a run made with {options} goes out as 'hf'"):
        as_foreign(mean, "hf")
    pooling = published_pooling(source.provenance, source.body)
    cosine = made(source, {**source.body, "pooling": pooling}, {"family": "cosine"})
    with pytest.raises(HubError, match="a run made with --head published goes out as 'hf'"):
        as_foreign(cosine, "hf")


def test_no_option_makes_a_class_for_the_encoder_of_t5():
    source = hub.encoder_alone(hub.load(f"hf:{FIXTURES / 'hf_t5'}"))
    plain = made(source, source.body, published_head(source.provenance, source.body))
    with pytest.raises(HubError, match="reads the decoder, and this is an encoder alone") as caught:
        as_foreign(plain, "hf")
    assert "--head" not in str(caught.value)
    assert str(caught.value).endswith("export it as 'stablehlo' instead")


def test_what_no_library_has_a_class_for_gets_a_plain_head():
    body = bodies.describe(bodies.create("awd-lstm"))
    assert published_head({}, body) == {"family": "linear"}
    assert published_pooling({}, body) is None
