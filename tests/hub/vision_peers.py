"""Random vision models of transformers and timm, what they compute, and their gradients.

A gradient is compared under our names by a detour that needs no second table: it is put in the
place of the weights, saved as a checkpoint, and loaded.
"""

import copy
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.model import Model, variables

torch = pytest.importorskip("torch")


@dataclasses.dataclass
class Case:
    """A torch model, how it is saved, and what it takes."""

    model: Any
    save: Any
    size: int
    channels: int
    count: int = 2

    def picture(self):
        rng = np.random.default_rng(7)
        return rng.normal(size=(self.count, self.size, self.size, self.channels)).astype(np.float32)


def shake(model, seed):
    """Gives every parameter and statistic a value that a wrong mapping could not hide."""

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + 0.3 * noise.abs())
            elif value.dim() > 1:
                value.copy_(noise * (value[0].numel() ** -0.5 if value.dim() != 3 else 0.5))
            elif name.endswith("bias") or name.endswith("mean"):
                value.copy_(0.2 * noise)
            else:
                value.copy_(1 + 0.2 * noise)
    return model.eval()


def hf_case(kind, seed=0, **changes):
    """A model of transformers by class name."""
    import transformers

    torch.manual_seed(seed)
    vit = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "image_size": 8,
        "patch_size": 4,
        "num_labels": 5,
    }
    resnet = {
        "embedding_size": 8,
        "hidden_sizes": [16, 32],
        "depths": [2, 2],
        "layer_type": "basic",
        "num_labels": 5,
    }
    config_class = {
        "ViT": transformers.ViTConfig,
        "Dei": transformers.DeiTConfig,
        "Res": transformers.ResNetConfig,
    }[kind[:3]]
    settings = {**(resnet if kind.startswith("Res") else vit), **changes}
    config = config_class(**settings)
    model = shake(getattr(transformers, kind)(config), seed)
    size = settings.get("image_size", 32)
    save = lambda m, folder: m.save_pretrained(folder)  # noqa: E731
    return Case(model, save, size, settings.get("num_channels", 3))


def timm_case(architecture, seed=0, size=32, **arguments):
    """A model of timm by architecture and arguments."""
    from timm_peer import import_timm

    timm = import_timm()
    from timm.models._hub import save_for_hf

    torch.manual_seed(seed)
    model = shake(timm.create_model(architecture, **arguments), seed)
    given = {k: v for k, v in arguments.items() if k != "num_classes"}

    def save(m, folder):
        save_for_hf(m, folder, model_args=given, safe_serialization=True)

    return Case(model, save, arguments.get("img_size", size), arguments.get("in_chans", 3))


def bit_case(seed):
    """A BiT of the least depth and widths that timm makes: normalisations are of 32 groups.

    16 drawn branches as large as what they are added to make rounding grow (torch's float32 is then
    8e-5 away from its float64); trained ones are smaller. One small picture, as a ReLU that flips
    by rounding, of millions, moves every gradient below it: torch's float32 by 0.08 as ours.
    """
    sizes = {"channels": [128, 256, 128, 256], "stem_chs": 32}
    case = timm_case("resnetv2_50x1_bit", seed, 48, num_classes=5, **sizes)
    with torch.no_grad():
        for name, value in case.model.named_parameters():
            if ".norm3." in name:
                value.mul_(0.3)
    return dataclasses.replace(case, count=1)


def torch_forward(case, picture):
    """Logits (or pooled features), all hidden states, and the sequence after the last norm."""

    # In float64: what differs is our rounding alone.
    case.model.double()
    x = torch.tensor(picture, dtype=torch.float64).permute(0, 3, 1, 2).contiguous()
    if hasattr(case.model, "config") and hasattr(case.model.config, "model_type"):
        out = case.model(x, output_hidden_states=True)
        main = out.logits if "logits" in out else out.pooler_output
        if main is None:
            main = out.last_hidden_state[:, 0]
        return main.flatten(1), list(out.hidden_states), out.get("last_hidden_state")
    return timm_forward(case.model, x)


def timm_forward(model, x):
    """The same of timm, which keeps no hidden states: they are seen where they pass."""
    is_vit = hasattr(model, "blocks")
    steps = [*model.blocks] if is_vit else [*getattr(model, "stages", ())]
    steps = steps or [model.layer1, model.layer2, model.layer3, model.layer4]
    hidden, last = [], []
    handles = [steps[0].register_forward_pre_hook(lambda _, given: hidden.append(given[0]))]
    handles += [s.register_forward_hook(lambda _, __, out: hidden.append(out)) for s in steps]
    if is_vit:
        handles.append(model.norm.register_forward_hook(lambda _, __, out: last.append(out)))
    main = model(x).flatten(1)
    for handle in handles:
        handle.remove()
    return main, hidden, last[0] if last else None


def probe(shape):
    """A fixed direction in the space of outputs."""
    return np.random.default_rng(11).normal(size=shape).astype(np.float32)


def torch_gradients(case, picture):
    """Gradients of a probe of the outputs, as a checkpoint folder's source."""

    case.model.zero_grad()
    main, _, _ = torch_forward(case, picture)
    (main * torch.tensor(probe(tuple(main.shape)))).sum().backward()
    twin = copy.deepcopy(case.model).float()
    with torch.no_grad():
        for own, other in zip(case.model.parameters(), twin.parameters(), strict=True):
            other.copy_(torch.zeros_like(own) if own.grad is None else own.grad)
    return saved(dataclasses.replace(case, model=twin))


def saved(case):
    """Saves a model and loads it here."""
    with tempfile.TemporaryDirectory() as folder:
        case.save(case.model, folder)
        return eager(hub.load(folder))


def eager(source):
    """Takes all numbers out of the files, which may go away."""
    return dataclasses.replace(
        source,
        params={path: np.array(value) for path, value in source.params.items()},
        collections={path: np.array(value) for path, value in source.collections.items()},
    )


def forward(source, picture):
    """Our features, and logits or pooled features."""
    model, state = ours(source)
    features, outputs = jax.jit(lambda s, x: call(model, s, x))(state, picture)
    return features, outputs


def ours(source):
    """Our model of a source and its state; the head is None where the source has none."""
    body = bodies.build(source.body)
    if source.head is None:
        cut = [
            {path.removeprefix("body/"): value for path, value in flat.items()}
            for flat in (source.params, source.collections)
        ]
        return body, variables(*cut)
    model = Model(body=body, head=heads.build(source.head))
    return model, variables(source.params, source.collections)


def call(model, state, picture):
    if isinstance(model, Model):
        return model.apply(state, picture, method="both")
    features = model.apply(state, picture)
    return features, features.pooled


def gradients(source, picture):
    """Gradients of the same probe, by path."""
    from tlearn.params import flatten

    model, state = ours(source)
    picture = jnp.asarray(picture)

    def loss(params):
        outputs = call(model, {**state, "params": params}, picture)[1]
        return (outputs * jnp.asarray(probe(outputs.shape))).sum()

    found = flatten(jax.jit(jax.grad(loss))(state["params"]))
    prefix = "" if source.head is not None else "body/"
    return {f"{prefix}{path}": np.asarray(value) for path, value in found.items()}


def relative(given, wanted):
    """Largest difference by the largest value."""
    wanted = wanted.detach().numpy() if hasattr(wanted, "detach") else np.asarray(wanted)
    assert given.shape == wanted.shape
    return float(np.abs(np.asarray(given) - wanted).max() / np.abs(wanted).max())


def folder_of(case, folder) -> Path:
    """Saves a model for a reader."""
    case.save(case.model, folder)
    return Path(folder)
