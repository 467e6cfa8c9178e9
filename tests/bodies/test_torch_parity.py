"""Logits and gradients equal those of hand-written torch twins, in float32 to 1e-5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies
from tlearn.params import flatten, unflatten

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
F = torch.nn.functional

CLASSES = 5
BATCH = 4


class Twin:
    """The same network in torch's functional calls, reading the same names.

    Parameters are torch tensors under tlearn's paths, in torch's layouts.
    """

    def __init__(self, body, params, statistics, train):
        self.body, self.train = body, train
        self.weights = {}
        for path, value in params.items():
            value = np.asarray(value)
            if path.endswith("kernel"):
                value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            self.weights[path] = torch.tensor(value.copy(), requires_grad=True)
        self.statistics = {p: torch.tensor(np.array(v)) for p, v in statistics.items()}

    def conv(self, x, name, stride=1, groups=1):
        kernel = self.weights[f"{name}/kernel"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)

    def norm(self, x, name):
        return F.batch_norm(
            x,
            self.statistics[f"{name}/mean"],
            self.statistics[f"{name}/var"],
            self.weights[f"{name}/scale"],
            self.weights[f"{name}/bias"],
            training=self.train,
            momentum=0.1,
            eps=1e-5,
        )

    def logits(self, x):
        run = self.resnet if self.body.family == "resnet" else self.mobilenet
        pooled = run(torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy())).mean((2, 3))
        return F.linear(pooled, self.weights["head/kernel"], self.weights["head/bias"])

    def resnet(self, x):
        body = self.body
        x = self.conv(x, "stem/conv", 1 if body.stem == "cifar" else 2)
        x = F.relu(self.norm(x, "stem/norm"))
        if body.stem == "imagenet":
            x = F.max_pool2d(x, 3, 2, 1)
        for i, blocks in enumerate(body.stage_blocks):
            for j in range(blocks):
                stride = 2 if i and not j else 1
                x = self.residual(x, f"stage_{i + 1}/block_{j + 1:02d}", stride)
        return x

    def residual(self, x, name, stride):
        if self.body.block == "basic":
            y = F.relu(self.norm(self.conv(x, f"{name}/conv_1", stride), f"{name}/norm_1"))
            y = self.norm(self.conv(y, f"{name}/conv_2"), f"{name}/norm_2")
        else:
            y = F.relu(self.norm(self.conv(x, f"{name}/conv_1"), f"{name}/norm_1"))
            y = F.relu(self.norm(self.conv(y, f"{name}/conv_2", stride), f"{name}/norm_2"))
            y = self.norm(self.conv(y, f"{name}/conv_3"), f"{name}/norm_3")
        if f"{name}/shortcut_conv/kernel" in self.weights:
            x = self.norm(self.conv(x, f"{name}/shortcut_conv", stride), f"{name}/shortcut_norm")
        elif x.shape != y.shape:
            extra = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
        return F.relu(x + y)

    def mobilenet(self, x):
        x = F.relu6(self.norm(self.conv(x, "stem/conv", 2), "stem/norm"))
        for i, (_, _, blocks, stride) in enumerate(self.body.stages):
            for j in range(blocks):
                name, step = f"stage_{i + 1}/block_{j + 1:02d}", stride if j == 0 else 1
                y = x
                if f"{name}/expand_conv/kernel" in self.weights:
                    y = F.relu6(
                        self.norm(self.conv(y, f"{name}/expand_conv"), f"{name}/expand_norm")
                    )
                y = self.conv(y, f"{name}/depthwise_conv", step, groups=y.shape[1])
                y = F.relu6(self.norm(y, f"{name}/depthwise_norm"))
                y = self.norm(self.conv(y, f"{name}/project_conv"), f"{name}/project_norm")
                x = x + y if x.shape == y.shape else y
        return F.relu6(self.norm(self.conv(x, "final/conv"), "final/norm"))


BODIES = {
    "cifar": {"stage_blocks": (2, 1, 1), "stage_widths": (8, 16, 32), "stem_width": 8},
    "cifar-b": {"stage_blocks": (1, 1), "stage_widths": (8, 16), "stem_width": 8, "shortcut": "B"},
    "resnet50-like": {
        "stage_blocks": (1, 2),
        "stage_widths": (8, 12),
        "stem_width": 8,
        "block": "bottleneck",
        "stem": "imagenet",
        "shortcut": "B",
    },
    "mobilenet_v2": {
        "family": "mobilenet_v2",
        "stages": ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 1, 2)),
        "stem_width": 16,
        "final_width": 32,
    },
}


def perturbed(tree, seed):
    """Moves scales, biases and statistics off their starting values, keeping variances positive."""
    flat = flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(flat))
    return {
        path: value
        if path.endswith("kernel")
        else value + 0.3 * jax.random.uniform(key, value.shape)
        for key, (path, value) in zip(keys, flat.items(), strict=True)
    }


def near(got, want, what, tolerance=1e-5):
    got, want = np.asarray(got), np.asarray(want)
    # The floor is for biases just before a batch normalisation: their gradient is rounding alone.
    assert np.abs(got - want).max() <= tolerance * max(np.abs(want).max(), 1.0), what


@pytest.mark.parametrize("train", [False, True], ids=["running", "batch"])
@pytest.mark.parametrize("name", BODIES)
def test_logits_gradients_and_statistics_equal_torchs(name, train):
    body = bodies.build({"family": "resnet"} | BODIES[name])
    # Few activations: one that rounding moves across a ReLU's corner changes gradients by more
    # than any tolerance, and a million would include some.
    image = jax.random.normal(jax.random.key(1), (BATCH, 16, 16, 3))
    variables = body.init(jax.random.key(0), image[:1])
    statistics = perturbed(variables["batch_stats"], 2)
    params = perturbed(variables["params"], 3)
    params["head/kernel"] = 0.3 * jax.random.normal(
        jax.random.key(4), (body.feature_width, CLASSES)
    )
    params["head/bias"] = jnp.arange(float(CLASSES))
    weight = jax.random.normal(jax.random.key(5), (BATCH, CLASSES))

    def loss(params):
        inside = {path: value for path, value in params.items() if not path.startswith("head/")}
        tree = {"params": unflatten(inside), "batch_stats": unflatten(statistics)}
        features, changed = body.apply(tree, image, train=train, mutable=["batch_stats"])
        logits = features.pooled @ params["head/kernel"] + params["head/bias"].reshape(1, -1)
        return (logits * weight).sum(), (logits, changed)

    (_, (logits, changed)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    twin = Twin(body, params, statistics, train)
    want = twin.logits(image)
    near(logits, want.detach(), "logits")
    (want * torch.tensor(np.array(weight))).sum().backward()
    for path, grad in grads.items():
        expected = twin.weights[path].grad.numpy()
        if path.endswith("kernel"):
            expected = expected.transpose(2, 3, 1, 0) if expected.ndim == 4 else expected.T
        near(grad, expected, path)
    for path, value in flatten(changed["batch_stats"]).items():
        near(value, twin.statistics[path], path)
