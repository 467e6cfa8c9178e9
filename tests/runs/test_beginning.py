"""The state a run begins with: its weights are in memory once, in the dtype and place they keep.

Breaks tried: `init` copying what it may take; `Start` giving the same weights twice; frozen weights
read in float32 and cast later; anchors of a pull read in bfloat16; all weights on one device first;
a second start that does not compare digests.
"""

import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
import small_texts

from tlearn import hub
from tlearn.runs import build as building
from tlearn.runs.build import build
from tlearn.runs.devices import Devices

COMPILED = "/jax/core/compile/backend_compile_duration"
EMBEDDING = "body/embeddings/tokens/embedding"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint and a folder of reviews."""
    root = tmp_path_factory.mktemp("beginning")
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews")


def live():
    """Bytes that JAX holds, by dtype."""
    gc.collect()
    found = {"float32": 0, "bfloat16": 0}
    for array in jax.live_arrays():
        found[str(array.dtype)] = found.get(str(array.dtype), 0) + array.nbytes
    return found


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def gained(before, dtype):
    return live()[dtype] - before[dtype]


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("freeze", ["none", "body"])
def test_weights_are_in_memory_once(place, monkeypatch, freeze, dtype):
    given = []

    def watched(*args, **named):
        begun = initial(*args, **named)
        for flat in (begun.params, begun.collections):
            given.extend(weakref.ref(value) for value in flat.values())
        return begun

    initial = building.initial
    monkeypatch.setattr(building, "initial", watched)
    before = live()
    asked = small_texts.config(*place, freeze=freeze, frozen_dtype=dtype, optimizer="sgd")
    built = build(asked)
    # A frozen weight is read in its dtype, one after the other: never all of them in float32.
    head = sum(4 * row.size for row in built.plans[0].rows if row.layer == "head")
    whole = sum(4 * row.size for row in built.plans[0].rows)
    halved = (freeze, dtype) == ("body", "bfloat16")
    assert gained(before, "float32") == (head if halved else whole)
    assert gained(before, "bfloat16") == ((whole - head) // 2 if halved else 0)

    state = built.start()
    assert {str(value.dtype) for value in state.frozen.values()} <= {dtype}
    assert nbytes(state.params) == (head + (whole - head) // 2 if halved else whole)
    floats = [x for x in jax.tree.leaves(state) if x.dtype == jnp.float32]
    assert gained(before, "float32") == nbytes(floats)
    assert gained(before, "bfloat16") == (nbytes(state.frozen) if halved else 0)
    # On the host neither: what was read is what the state holds, and not a copy of it.
    own = {id(leaf) for leaf in jax.tree.leaves(state)}
    assert given
    assert all(id(ref()) in own for ref in given)


@pytest.mark.parametrize("freeze", ["none", "body"])
def test_a_second_start_is_the_first_after_its_arrays_are_gone(place, freeze):
    asked = small_texts.config(*place, freeze=freeze, frozen_dtype="bfloat16", head_init="scaled")
    built = build(asked)
    first = built.start()
    kept = {path: np.array(value) for path, value in first.params.items()}
    source = hub.load(asked.source).params
    for path, value in first.frozen.items():
        assert same(value, jnp.asarray(source[path]).astype(jnp.bfloat16)), path
    batch = {k: jnp.array(v) for k, v in built.task.train_batches(12, 0).at(0).items()}
    stepped, _ = built.program.step(0)(first, batch, built.source)
    again = built.start()
    assert all(same(value, kept[path]) for path, value in again.params.items())
    twice, _ = built.program.step(0)(again, batch, built.source)
    assert all(same(value, twice.params[path]) for path, value in stepped.params.items())


def test_forgotten_weights_are_read_again_when_asked_for(place):
    before = live()
    built = build(small_texts.config(*place, freeze="none"))
    built.start.forget()
    assert gained(before, "float32") == 0
    other = build(small_texts.config(*place, freeze="none")).start()
    state = built.start()
    assert all(same(value, other.params[path]) for path, value in state.params.items())


def test_a_source_that_changed_before_a_second_start_is_refused(tmp_path, digits_run):
    loaded = hub.load(f"run:{digits_run}")
    folder = tmp_path / "source"
    hub.save_model(folder, loaded)
    built = build(small_runs.config(folder))
    built.start()
    (folder / "model").rename(folder / "before")
    moved = {path: np.asarray(value) + 1 for path, value in loaded.params.items()}
    hub.save_model(folder, dataclasses.replace(loaded, params=moved))
    with pytest.raises(ValueError, match="the source changed since the run was built"):
        built.start()


def test_what_a_pull_holds_on_to_stays_float32(place):
    source = hub.load(f"hf:{place[0]}").params
    common = {"frozen_dtype": "bfloat16", "pull_strength": 0.1, "length": "36st"}
    stages = {"unfreeze": "gradual", "stage_epochs": 1.0, "pull": "l2sp"}
    for changes in (stages, {"freeze": "bottom:1", "pull": "features"}):
        built = build(small_texts.config(*place, **common, **changes))
        assert EMBEDDING in built.source.params
        for path, value in built.source.params.items():
            assert same(value, np.asarray(source[path])), path
        frozen = built.start().frozen
        assert same(frozen[EMBEDDING], jnp.asarray(source[EMBEDDING]).astype(jnp.bfloat16))


def test_the_step_compiled_from_the_shapes_is_the_one_the_state_calls(place):
    compiled = []

    def listen(name, seconds, **about):
        if name == COMPILED:
            compiled.append(about.get("fun_name"))

    built = build(small_texts.config(*place, freeze="body", frozen_dtype="bfloat16"))
    batch = {k: jnp.array(v) for k, v in built.task.train_batches(12, 0).at(0).items()}
    built.program.compile_ahead(0, built.start.shapes(), batch, built.source)
    step, state = built.program.step(0), built.start()
    specs = [jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (built.start.shapes(), state)]
    assert specs[0] == specs[1]
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state, _ = step(state, batch, built.source)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
    assert int(state.step) == 1


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_on_several_devices_weights_are_read_where_they_stay(digits_run, layout):
    asked = small_runs.config(digits_run, devices=4, layout=layout)
    built = build(asked)
    state, one = built.start(), build(small_runs.config(digits_run)).start()
    devices = Devices(asked)
    placed = devices.put(state)
    wanted = devices.shardings(state)
    split = 0
    for flat, goal, there, plain in (
        (state.params, wanted.params, placed.params, one.params),
        (state.collections, wanted.collections, placed.collections, one.collections),
    ):
        for path, value in flat.items():
            assert same(value, plain[path]), path
            assert value.sharding == goal[path], path
            here, moved = (
                [shard.data.unsafe_buffer_pointer() for shard in array.addressable_shards]
                for array in (value, there[path])
            )
            assert here == moved, path
            split += not value.sharding.is_fully_replicated
    assert (split > 0) == (layout == "sharded")
