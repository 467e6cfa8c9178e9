"""Parameter counts of the published encoders, from their configs alone.

The exact numbers are those of transformers' classes of the published configs, counted on torch's
meta device: `transformers.BertModel` and its kin; RoBERTa, DistilBERT and ELECTRA have no pooler.
The papers round them: BERT 110 M and 340 M (Devlin et al. 2019), 66 M (Sanh et al. 2019), 125 M and
355 M (Liu et al. 2019), 12, 18, 60 and 235 M (Lan et al. 2020; the released models hold 58.7 and
222.6 M), 14, 110 and 335 M (Clark et al. 2020), 22 M and 33 M (Wang et al. 2020).
"""

import jax
import jax.numpy as jnp
import pytest

from tlearn import bodies
from tlearn.params import flatten

COUNTS = {
    "bert-tiny": 4_385_920,
    "bert-mini": 11_170_560,
    "bert-small": 28_763_648,
    "bert-medium": 41_373_184,
    "bert-base": 109_482_240,
    "bert-base-cased": 108_310_272,
    "bert-base-multilingual-cased": 177_853_440,
    "bert-large": 335_141_888,
    "bert-large-cased": 333_579_264,
    "minilm-l6": 22_713_216,
    "minilm-l12": 33_360_000,
    "distilbert-base": 66_362_880,
    "distilbert-base-cased": 65_190_912,
    "roberta-base": 124_055_040,
    "roberta-large": 354_310_144,
    "distilroberta-base": 81_527_808,
    "albert-base": 11_683_584,
    "albert-large": 17_683_968,
    "albert-xlarge": 58_724_864,
    "albert-xxlarge": 222_595_584,
    "electra-small": 13_483_008,
    "electra-base": 108_891_648,
    "electra-large": 334_092_288,
}


def shapes(name, **fields):
    row = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    body = bodies.create(name, **fields)
    return flatten(jax.eval_shape(body.init, jax.random.key(0), row, row, row)["params"])


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    assert sum(leaf.size for leaf in shapes(name).values()) == COUNTS[name]


def test_a_pooler_is_one_square_layer():
    with_pooler = sum(leaf.size for leaf in shapes("roberta-base", pooling="pooler").values())
    assert with_pooler == 124_645_632
    assert with_pooler - COUNTS["roberta-base"] == 768 * 768 + 768


def test_alberts_depth_costs_no_parameters():
    assert shapes("albert-base") == shapes("albert-base", depth=3)
    assert len(shapes("albert-base", groups=3)) > len(shapes("albert-base"))
