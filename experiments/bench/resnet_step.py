"""ResNet-20 on 32x32 pictures: training step and forward pass, beside the same network in torch.

Both sides start from the same weights, compute the same loss (checked) and take the same SGD step
with momentum; both run in this process with the same allocator settings, in turn. Ratios are
torch's time over tlearn's: above 1 tlearn is faster. Torch runs eagerly, in its default layout and
with channels last; the faster of the two is what ratios are taken against. One thread is the
default: on a busy machine of two cores two threads measure the neighbours.

    python experiments/bench/resnet_step.py [--threads 2] [--batch 32 128] [--json PATH]
"""

import argparse
import time
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write

CLASSES, RATE, MOMENTUM = 10, 0.05, 0.9


def data(batch: int) -> tuple[Any, Any]:
    """Random pictures and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.normal(size=(batch, 32, 32, 3)).astype(np.float32)
    return image, rng.integers(0, CLASSES, batch).astype(np.int32)


def ours(batch: int, form: str) -> dict[str, Any]:
    """Our step and forward pass as calls without arguments, and the weights they start from."""
    import jax
    import jax.numpy as jnp
    import optax

    from tlearn import bodies, heads
    from tlearn.bodies import convolution
    from tlearn.model import Model, initialise, variables
    from tlearn.params import flatten

    model = Model(bodies.create("resnet20"), heads.Linear(CLASSES, kernel_init="scaled"))
    image, label = (jnp.asarray(part) for part in data(batch))
    params, statistics = initialise(model, jax.random.key(0), image[:1])
    optimizer = optax.sgd(RATE, momentum=MOMENTUM)

    @jax.jit
    def forward(params, statistics, image):
        return model.apply(variables(params, statistics), image)

    def step(state, image, label):
        params, statistics, optimizer_state = state

        def loss(params):
            logits, changed = model.apply(
                variables(params, statistics), image, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return losses.mean(), flatten(changed["batch_stats"])

        (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), statistics, optimizer_state), value

    choose = convolution.conv2d
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731
    state = (copy(params), copy(statistics), optimizer.init(copy(params)))
    started = time.perf_counter()
    try:
        if form != "auto":
            convolution.conv2d = lambda *a, **k: choose(*a, **(k | {"form": form}))
        compiled = jax.jit(step, donate_argnums=0).lower(state, image, label).compile()
        compile_s = time.perf_counter() - started
        still = forward.lower(params, statistics, image).compile()
    finally:
        convolution.conv2d = choose
    holder = {"state": state}

    def train():
        holder["state"], loss = compiled(holder["state"], image, label)
        jax.block_until_ready(holder["state"])
        return float(loss)

    return {
        "train step": train,
        "forward": lambda: jax.block_until_ready(still(params, statistics, image)),
        "params": params,
        "compile_s": compile_s,
    }


def theirs(batch: int, params: dict[str, Any], threads: int, *, channels_last: bool) -> Any:
    """The same in eager torch, from the same weights."""
    import numpy as np
    import torch  # noqa: TID251 - the peer

    torch.set_num_threads(threads)
    functional = torch.nn.functional

    class Block(torch.nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv_1 = torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.norm_1 = torch.nn.BatchNorm2d(width)
            self.conv_2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.norm_2 = torch.nn.BatchNorm2d(width)

        def forward(self, x):
            y = functional.relu(self.norm_1(self.conv_1(x)))
            y = self.norm_2(self.conv_2(y))
            if x.shape != y.shape:
                extra = (y.shape[1] - x.shape[1]) // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
            return functional.relu(x + y)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.norm = torch.nn.BatchNorm2d(16)
            widths = [16] * 3 + [32] * 3 + [64] * 3
            before = [16, *widths[:-1]]
            self.blocks = torch.nn.Sequential(
                *(Block(c, w, 1 if c == w else 2) for c, w in zip(before, widths, strict=True))
            )
            self.dense = torch.nn.Linear(64, CLASSES)

        def forward(self, x):
            x = self.blocks(functional.relu(self.norm(self.conv(x))))
            return self.dense(x.mean((2, 3)))

    layout: Any = torch.channels_last if channels_last else torch.contiguous_format
    network: Any = Network()
    network.to(memory_format=layout)
    with torch.no_grad():
        kernels = {"conv.weight": "body/stem/conv/kernel"}
        for stage in range(3):
            for block in range(3):
                for conv in (1, 2):
                    kernels[f"blocks.{3 * stage + block}.conv_{conv}.weight"] = (
                        f"body/stage_{stage + 1}/block_{block + 1:02d}/conv_{conv}/kernel"
                    )
        state = network.state_dict()
        for name, path in kernels.items():
            value = np.array(params[path]).transpose(3, 2, 0, 1)
            state[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))
        state["dense.weight"].copy_(
            torch.from_numpy(np.array(params["head/dense/kernel"]).T.copy())
        )
        state["dense.bias"].zero_()
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    pictures, labels = data(batch)
    image = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    image = image.contiguous(memory_format=layout)
    label = torch.from_numpy(labels.astype(np.int64))
    still: Any = Network()
    still.to(memory_format=layout)
    still.eval()

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(network(image), label)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def forward():
        with torch.inference_mode():
            return still(image)

    return {"train step": train, "forward": forward}


def compare(batch: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """One row for the training step and one for the forward pass."""
    sides = {"tlearn": ours(batch, "auto"), "tlearn, built-in": ours(batch, "builtin")}
    params = sides["tlearn"]["params"]
    try:
        sides["torch"] = theirs(batch, params, threads, channels_last=False)
        sides["torch, channels last"] = theirs(batch, params, threads, channels_last=True)
    except ImportError:
        print("torch is not installed: only our own forms are compared")
    first = {name: side["train step"]() for name, side in sides.items()}
    second = {name: side["train step"]() for name, side in sides.items()}
    for losses in (first, second):
        spread = max(losses.values()) - min(losses.values())
        if spread > 1e-3:
            raise SystemExit(f"the sides do not compute the same loss: {losses}")
    rows = []
    for what in ("train step", "forward"):
        times = alternate({name: side[what] for name, side in sides.items()}, repeats)
        torches = {n: t for n, t in times.items() if n.startswith("torch")}
        row: dict[str, Any] = {
            "batch": batch,
            "what": what,
            "ms": {name: median_ms(t) for name, t in times.items()},
            "cpu_ms": {name: median_ms(t, "cpu") for name, t in times.items()},
            "builtin_over_tlearn": ratio(times["tlearn, built-in"], times["tlearn"], "wall"),
            "compile_s": sides["tlearn"]["compile_s"],
        }
        if torches:
            best = min(torches, key=lambda name: median_ms(torches[name]))
            row["torch_over_tlearn"] = ratio(torches[best], times["tlearn"], "wall")
            row["torch_over_tlearn_cpu"] = ratio(torches[best], times["tlearn"], "cpu")
            row["best_torch"] = best
        rows.append(row)
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    rows = []
    for batch in args.batch:
        for row in compare(batch, args.threads, args.repeats):
            times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in row["ms"].items())
            print(f"batch {batch}, {row['what']}: {times}")
            against = f"    built-in / tlearn {row['builtin_over_tlearn']:.2f}"
            if "best_torch" in row:
                against += (
                    f", {row['best_torch']} / tlearn {row['torch_over_tlearn']:.2f}"
                    f" (by CPU time {row['torch_over_tlearn_cpu']:.2f})"
                )
            print(against, flush=True)
            rows.append(row)
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats)


if __name__ == "__main__":
    main()
