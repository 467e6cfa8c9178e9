"""Bodies by name: nearest misses, laziness, facts."""

import subprocess
import sys

import pytest

from tlearn import bodies
from tlearn.bodies import ImageFacts


def test_unknown_names_and_fields_come_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown body 'resnet21'; did you mean .*'resnet20'"):
        bodies.create("resnet21")
    with pytest.raises(ValueError, match=r"'droppath'; did you mean 'drop_path'"):
        bodies.create("resnet20", droppath=0.1)
    with pytest.raises(ValueError, match=r"needs the key 'family'"):
        bodies.build({"stage_blocks": [1]})
    with pytest.raises(ValueError, match=r"family 'resnets'; did you mean 'resnet'"):
        bodies.build({"family": "resnets"})
    with pytest.raises(ValueError, match="registered body"):
        bodies.describe(object())


def test_all_problems_of_a_config_are_named_at_once():
    with pytest.raises(ValueError, match=r"'blok'.*'stemm'"):
        bodies.build({"family": "resnet", "blok": "basic", "stemm": "cifar"})


def test_listing_bodies_and_heads_imports_no_jax():
    code = (
        "import sys, tlearn.bodies, tlearn.heads\n"
        "from tlearn.bodies.registry import names\n"
        "from tlearn.heads.registry import names as head_names\n"
        "assert 'resnet50' in names() and 'cosine' in head_names()\n"
        "heavy = {'jax', 'flax', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_facts_that_cannot_be_right_are_refused():
    facts = ImageFacts(mean=(0.5,), std=(0.25,), size=28, channels=1)
    assert facts.crop == 1.0
    with pytest.raises(ValueError, match=r"mean has 1 values.*std must be positive.*crop"):
        ImageFacts(mean=(0.5,), std=(0.1, 0.0, 0.1), size=32, crop=1.5)
