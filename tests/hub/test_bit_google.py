"""BiT by the names of its publication: NumPy files and TensorFlow checkpoints, and beside timm's.

Broken on purpose, each seen to fail: parts b and c exchanged, the head's kernel turned, a prefix
kept, the stem's border of minus infinity.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hub.tf_files import write_checkpoint
from tlearn import bodies, heads, hub
from tlearn.hub.errors import HubError
from tlearn.hub.source import Source
from tlearn.params import flatten

SMALL = {"family": "bit", "stage_blocks": (2, 1), "stage_widths": (32, 64), "stem_width": 32}


def drawn(seed=0, **changes):
    """A small BiT with a head, every number its own."""
    body = bodies.build({**SMALL, **changes})
    head = heads.create("linear", classes=5)
    features = jax.eval_shape(
        lambda key: body.init_with_output(key, jnp.zeros((1, 32, 32, 3)))[0], jax.random.key(0)
    )
    shapes = jax.eval_shape(body.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    parts = {"body": shapes["params"]}
    parts["head"] = jax.eval_shape(head.init, jax.random.key(0), features)["params"]
    rng = np.random.default_rng(seed)
    params = {
        path: rng.normal(size=leaf.shape).astype(np.float32)
        for path, leaf in flatten(parts).items()
    }
    return Source(params, {}, bodies.describe(body), heads.describe(head))


def same(first, second):
    assert first.params.keys() == second.params.keys()
    assert all(np.array_equal(first.params[p], second.params[p]) for p in first.params)
    assert dict(first.body) == dict(second.body)
    assert first.head == second.head


def test_a_file_of_the_publication_is_read_and_written(tmp_path):
    source = drawn()
    file = hub.export_torch_names(source, tmp_path / "BiT-S-R50x1.npz")
    with np.load(file) as stored:
        assert stored["resnet/head/conv2d/kernel"].shape == (1, 1, 256, 5)
        kernel = stored["resnet/block2/unit01/a/proj/standardized_conv2d/kernel"]
        assert kernel.shape == (1, 1, 128, 256)
        assert "resnet/block1/unit02/a/proj/standardized_conv2d/kernel" not in stored.files
    same(hub.load(f"npz:{file}"), source)


@pytest.mark.parametrize("prefix", ["resnet/", "module/resnet/", ""])
def test_a_checkpoint_of_tensorflow_is_the_same(tmp_path, prefix):
    source = drawn()
    file = hub.export_torch_names(source, tmp_path / "bit.npz")
    with np.load(file) as stored:
        arrays = {
            name.replace("resnet/", prefix, 1): stored[name]
            for name in stored.files
            if name.startswith("resnet/")
        }
    write_checkpoint(tmp_path / "tf" / "m.ckpt", arrays)
    loaded = hub.load(f"tf:{tmp_path / 'tf'}")
    same(loaded, source)
    assert loaded.facts.mean == (0.5, 0.5, 0.5)


def test_what_is_no_bit_is_refused_by_name(tmp_path):
    source = drawn()
    file = hub.export_torch_names(source, tmp_path / "bit.npz")
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files if name.startswith("resnet/")}
    third = "resnet/block1/unit01/c/standardized_conv2d/kernel"
    np.savez(tmp_path / "gap.npz", **{n: a for n, a in arrays.items() if n != third})
    with pytest.raises(HubError, match=r"stage 1 has the blocks \[1\]"):
        hub.load(f"npz:{tmp_path / 'gap.npz'}")
    wide = {**arrays, third: np.zeros((1, 1, 32, 64), np.float32)}
    np.savez(tmp_path / "wide.npz", **wide)
    with pytest.raises(HubError, match="from 32 to 64 channels, not to four times"):
        hub.load(f"npz:{tmp_path / 'wide.npz'}")
    with pytest.raises(HubError, match=r"kernel_epsilon=1e-10 \(not 1e-08\)"):
        hub.export_folder(source, tmp_path / "out", "timm")
    with pytest.raises(ValueError, match="norm_groups=32 must divide"):
        drawn(stage_widths=(32, 48))


def test_zeros_of_the_stems_border_can_be_the_largest():
    body = bodies.build(SMALL)
    variables = body.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    image = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    features = jax.jit(body.apply)(variables, image)
    stem = np.asarray(features.layers["stem"])
    # The corner is the largest of 4 numbers and the border; of 128 such, 8 are below zero without.
    assert stem[:, 0, 0].min() == 0.0


@pytest.mark.torch
def test_timm_reads_what_is_written_for_google(tmp_path):
    """timm reads the published files by a table of its own."""
    peer = pytest.importorskip("vision_peers")
    case = peer.bit_case(1)
    source = peer.saved(case)
    named = dataclasses.replace(source, body={**source.body, "kernel_epsilon": 1e-10})
    file = hub.export_torch_names(named, tmp_path / "bit.npz")
    other = peer.bit_case(2).model
    other.load_pretrained(str(file))
    wanted = case.model.state_dict()
    for name, value in other.state_dict().items():
        assert np.array_equal(value.numpy(), wanted[name].numpy()), name
