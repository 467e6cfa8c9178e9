"""The weights of a study's runs: in memory once where anything needs them, and else not.

Breaks tried: the first reading kept after a block took it; a line reading what another reads for
it; an anchor that copies what stands still, or whose float32 stays what the runs share; what stands
still read again for a second block; a changed source not compared; shapes without repeats; a block
made on one device and spread when it trains; features once of float32 where a run's are of halves,
or computed in float32 where a run computes in bfloat16.
"""

import dataclasses
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
import small_texts

from tlearn import hub
from tlearn.params import layer_of
from tlearn.runs.build import build
from tlearn.runs.config import replace
from tlearn.runs.study import weights as holding
from tlearn.runs.study.gathering import gather
from tlearn.runs.study.looks import source_body
from tlearn.studies.block import nbytes
from tlearn.train.mesh import make_mesh

TOKENS = "body/embeddings/tokens/embedding"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint and a folder of reviews."""
    root = tmp_path_factory.mktemp("weights")
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews")


def configs(place, *others, **common):
    base = small_texts.config(*place, **{"length": "2st", **common})
    return [replace(base, **other) for other in others]


def live():
    """Bytes of weights that JAX holds."""
    gc.collect()
    return sum(x.nbytes for x in jax.live_arrays() if x.dtype in (jnp.float32, jnp.bfloat16))


def floats(tree):
    return nbytes([x for x in jax.tree.leaves(tree) if x.dtype in (jnp.float32, jnp.bfloat16)])


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))


def sizes(group, chosen):
    return sum(nbytes(group.weights.shapes[path]) for path in chosen)


FORMS = {
    "all trained": {"freeze": "none"},
    "half frozen": {"freeze": "bottom:2"},
    "all frozen": {"freeze": "body"},
    "in bfloat16": {"freeze": "bottom:2", "frozen_dtype": "bfloat16"},
    "features once": {"freeze": "bottom:2", "features": "once"},
    "features once, in bfloat16": {
        "freeze": "bottom:2",
        "features": "once",
        "frozen_dtype": "bfloat16",
    },
    "averaged": {"freeze": "bottom:2", "ema": 0.5, "accumulate": 2, "length": "4st"},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_frozen_is_there_once_and_the_source_not_beside(place, form):
    before = live()
    asked = configs(place, {}, {"seed": 1}, {"rate": 0.1, "seed": 1}, **FORMS[form])
    group = gather(asked)
    frozen = group.plans[0][0].frozen
    head = [path for path in group.weights.shapes if layer_of(path) == "head"]
    halved = sizes(group, frozen) // 2 if "in bfloat16" in form else 0
    # The source, and two heads that two seeds drew.
    read = sizes(group, group.weights.shapes) + sizes(group, head)
    assert live() - before == read - halved
    assert set(group.weights.still) == set(frozen)
    block = group.block([0, 1, 2])
    # Of the loaded weights that train there is nothing but the three runs' own.
    below = sizes(group, frozen) - halved - nbytes(block.shared)
    assert (below > 0) == ("features once" in form)
    assert live() - before == floats(block.states) + nbytes(block.shared) + below
    assert all(value is group.weights.still[path] for path, value in block.shared.items())
    assert {str(value.dtype) for value in block.shared.values()} <= {
        "bfloat16" if halved else "float32"
    }


@pytest.mark.parametrize("freeze", ["bottom:2", "body"])
@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
def test_features_once_are_those_that_a_run_alone_stores(place, tmp_path, kept, freeze):
    common = {"freeze": freeze, "features": "once", "dtype": "bfloat16", "frozen_dtype": kept}
    (asked,) = configs(place, {}, **common)
    built = build(asked)
    alone = built.train_batches(built.start(), tmp_path).at(0)["features"]
    found = gather([asked]).lines[0].at(0)["features"]
    # A pooled row is float32 whatever the layers below compute in.
    assert found.dtype == (jnp.bfloat16 if freeze == "bottom:2" else jnp.float32)
    assert same(found, alone)


@pytest.mark.parametrize("form", ["features", "l2sp"])
def test_a_pull_holds_on_to_what_was_read_and_copies_nothing(place, form):
    before = live()
    common = {"freeze": "bottom:2", "pull": form, "pull_strength": 0.1}
    group = gather(configs(place, {}, {"seed": 1}, **common))
    block = group.block([0, 1])
    moved = [path for path in group.plans[0][0].trainable if path.startswith("body/")]
    assert set(moved) <= set(group.source.params)
    held = floats(block.states) + nbytes(block.shared) + sizes(group, moved)
    assert live() - before == held
    assert (TOKENS in group.source.params) == (form == "features")
    for path, value in group.source.params.items():
        assert path in moved or value is group.weights.still[path], path


def test_what_a_pull_holds_on_to_is_float32_and_the_runs_share_halves(place):
    before = live()
    common = {"freeze": "bottom:2", "pull": "features", "pull_strength": 0.1}
    group = gather(configs(place, {}, {"seed": 1}, frozen_dtype="bfloat16", **common))
    block = group.block([0, 1])
    body = [path for path in group.weights.shapes if path.startswith("body/")]
    assert {str(value.dtype) for value in group.source.params.values()} == {"float32"}
    assert {str(value.dtype) for value in block.shared.values()} == {"bfloat16"}
    assert all(value is group.weights.still[path] for path, value in block.shared.items())
    assert live() - before == floats(block.states) + nbytes(block.shared) + sizes(group, body)


def test_a_second_block_reads_again_what_trains_and_nothing_else(place, monkeypatch):
    asked = configs(place, {}, {"seed": 1}, {"fresh": "top:1", "seed": 1}, freeze="bottom:1")
    group = gather(asked)
    first = group.block([0, 1, 2])
    looked = []

    def watched(*args, only, **named):
        looked.append(set(only))
        return initial(*args, only=only, **named)

    initial = holding.initial
    monkeypatch.setattr(holding, "initial", watched)
    for again, runs in ((group.block([0, 1, 2]), [0, 1, 2]), (group.block([2]), [2])):
        assert again.shared.keys() == first.shared.keys()
        assert all(again.shared[path] is value for path, value in first.shared.items())
        for place_, run in enumerate(runs):
            for path, value in again.states.params.items():
                assert same(value[place_], first.states.params[path][run]), path
    trained = set(group.plans[0][0].trainable)
    body = {path for path in trained if path.startswith("body/")}
    # What several lines load one of them reads; the others only draw.
    assert [paths for paths in looked if paths] == [body, body]


def test_what_distances_are_from_is_read_again(place):
    group = gather(configs(place, {}, {"fresh": "all"}, freeze="bottom:1"))
    block = group.block([0, 1])
    before = live()
    own = source_body(group, block, whole=False)
    source = hub.load(f"hf:{place[0]}").params
    # The pooler is loaded by the first run alone, and the second has drawn even what is frozen.
    assert set(own) == {path for path in source if path.startswith("body/")}
    assert all(same(value, np.asarray(source[path])) for path, value in own.items())
    del own
    assert live() == before
    still = gather(configs(place, {}, freeze="body", frozen_dtype="bfloat16"))
    whole = source_body(still, still.block([0]), whole=True)
    assert same(whole[TOKENS], np.asarray(source[TOKENS]))


def test_a_source_that_changed_between_two_blocks_is_refused(tmp_path, digits_run):
    loaded = hub.load(f"run:{digits_run}")
    folder = tmp_path / "source"
    hub.save_model(folder, loaded)
    group = gather([small_runs.config(folder, length="2st")])
    block = group.block([0])
    (folder / "model").rename(folder / "before")
    moved = {path: np.asarray(value) + 1 for path, value in loaded.params.items()}
    hub.save_model(folder, dataclasses.replace(loaded, params=moved))
    for ask in (lambda: group.block([0]), lambda: source_body(group, block, whole=False)):
        with pytest.raises(ValueError, match="the source changed since the study read it"):
            ask()


@pytest.mark.parametrize("form", FORMS)
def test_shapes_are_those_of_the_block(place, form):
    group = gather(configs(place, {}, {"seed": 1}, **FORMS[form]))
    before = live()
    told = group.shapes([0, 1], repeat=1)
    assert live() == before
    made = group.block([0, 1], repeat=1)
    for one, other in ((told.states, made.states), (told.shared, made.shared)):
        specs = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (one, other)]
        assert specs[0] == specs[1]
    assert told.lines == made.lines
    np.testing.assert_array_equal(told.line, made.line)


def test_on_several_devices_runs_are_made_where_they_train(place):
    group = gather(configs(place, {}, {"seed": 1}, freeze="bottom:2"))
    spread, here = group.block([0, 1], mesh=make_mesh(2)), group.block([0, 1])
    for one, other in zip(*(jax.tree.leaves(b.states) for b in (spread, here)), strict=True):
        assert [shard.data.shape[0] for shard in one.addressable_shards] == [1, 1]
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            assert same(one, other)
    for path, value in spread.shared.items():
        assert value.sharding.is_fully_replicated, path
        assert len(value.addressable_shards) == 2
        assert same(value, here.shared[path]), path
