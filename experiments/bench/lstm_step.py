"""AWD-LSTM's training step beside the same network in PyTorch: tokens a second, as ratios.

Both sides start from the same weights, carry their state from step to step, and take the same Adam
step on the mean loss of the next tokens; that is checked first, without dropout, over three steps.
Then both run with all five dropouts in this process, in turn, with the same allocator settings.
Ratios are torch's time over tlearn's: above 1 tlearn is faster. tlearn's step is the library's own,
gradient norm and metrics included. Torch's side is its own LSTM, a layer a call, on recurrent
weights that were dropped from once a step, as the published code does it; Adam is the fused one.

    python experiments/bench/lstm_step.py [--hidden 400 1150] [--batch 32 64] [--length 70]
        [--vocabulary 10000] [--layers-only] [--threads 2] [--json PATH]

`--layers-only` leaves out embedding, decoder and optimizer: the LSTMs forward and backward.
"""

import argparse
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write

WIDTH, DEPTH, RATE = 400, 3, 1e-3
DROPOUTS = {
    "output_dropout": 0.4,
    "hidden_dropout": 0.3,
    "input_dropout": 0.4,
    "embedding_dropout": 0.05,
    "weight_dropout": 0.5,
}
Batch = dict[str, Any]


def data(vocabulary: int, batch: int, length: int) -> Batch:
    """Random tokens that go on from a step before."""
    import numpy as np

    tokens = np.random.default_rng(0).integers(0, vocabulary, (batch, length + 1))
    return {
        "tokens": tokens[:, :-1].astype(np.int32),
        "targets": tokens[:, 1:].astype(np.int32),
        "segments": np.ones((batch, length), np.int32),
        "mask": np.ones(batch, np.float32),
        "index": np.arange(batch, dtype=np.int32),
        "continues": np.ones(batch, np.float32),
    }


def ours(given: Batch, vocabulary: int, hidden: int, scale: float, layers: bool) -> dict[str, Any]:
    """The library's step as a call without arguments, and the starting weights."""
    import jax
    import jax.numpy as jnp

    from tlearn import bodies, heads
    from tlearn.model import Model, initialise, variables
    from tlearn.objectives import NextTokens
    from tlearn.train.schedules import Constant
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe, compile_step, make_step
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    body = bodies.create(
        "awd-lstm",
        vocab_size=vocabulary,
        width=WIDTH,
        hidden=hidden,
        depth=DEPTH,
        dropout_scale=scale,
        bptt=0,
        **DROPOUTS,
    )
    model = Model(body, heads.CausalLM(use_bias=True))
    batch = {name: jnp.asarray(value) for name, value in given.items()}
    inputs = [batch[name] for name in body.inputs]
    params, _ = initialise(model, jax.random.key(0), *(x[:1] for x in inputs))
    if layers:
        # The embedding is given no gradient, the decoder is not run.
        still = {path: value for path, value in params.items() if "lstm" not in path}

        def loss(moving: Any, carry: Any, key: Any) -> Any:
            features: Any = body.apply(
                {"params": variables({**still, **moving}, {})["params"]["body"]},
                *inputs,
                train=frozenset(name for name in body.layer_names if "lstm" in name),
                carry=carry,
                rngs={"dropout": key},
            )
            return features.sequence.sum(), features.carry

        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        moving = {path: value for path, value in params.items() if path not in still}
        holder: dict[str, Any] = {"carry": body.initial_carry(len(given["tokens"]))}

        def run_layers() -> float:
            (value, holder["carry"]), gradients = step(moving, holder["carry"], jax.random.key(1))
            jax.block_until_ready(gradients)
            return float(value)

        return {"step": run_layers, "params": params, "body": body}
    optimizer = adamw(RATE, Constant())
    rows = plan(params, Strategy(weight_decay=0.0), layers=body.layer_names)
    state = init(
        rows,
        params,
        {},
        optimizer,
        total=1000,
        key=jax.random.key(1),
        carry=body.initial_carry(len(given["tokens"])),
    )
    step = compile_step(make_step(model, rows, NextTokens(), Recipe(optimizer=optimizer)))
    holder = {"state": state}

    def run_step() -> float:
        holder["state"], log = step(holder["state"], batch, SourceWeights())
        jax.block_until_ready(holder["state"])
        return float(log["loss"]) / float(log["count"])

    return {"step": run_step, "params": params, "body": body}


def theirs(side: dict[str, Any], given: Batch, scale: float, layers: bool) -> dict[str, Any]:
    """The same in torch, from the same weights."""
    import numpy as np
    import torch  # noqa: TID251 - the peer

    functional = torch.nn.functional
    rates = {name: rate * scale for name, rate in DROPOUTS.items()}

    def tensor(path: str) -> Any:
        value = np.array(side["params"][path])
        value = value.T.copy() if path.endswith("kernel") else value
        return torch.nn.Parameter(torch.from_numpy(value))

    table, bias = tensor("body/embeddings/tokens/embedding"), tensor("head/bias")
    weights = [
        {
            "input": tensor(f"body/lstm_{i}/input/kernel"),
            "recurrent": tensor(f"body/lstm_{i}/recurrent/kernel"),
            "bias": tensor(f"body/lstm_{i}/input/bias"),
        }
        for i in range(DEPTH)
    ]
    moving = [value for layer in weights for value in layer.values()]
    optimizer = torch.optim.Adam([table, bias, *moving], lr=RATE, fused=True)
    tokens, targets = (
        torch.from_numpy(given[name].astype(np.int64).T.copy()) for name in ("tokens", "targets")
    )
    zero = [torch.zeros_like(layer["bias"]) for layer in weights]
    state: list[Any] = []
    for layer in weights:
        start = torch.zeros(1, tokens.shape[1], layer["recurrent"].shape[1])
        state.append((start, start.clone()))

    def locked(x: Any, rate: float) -> Any:
        if not rate:
            return x
        mask = x.new_empty(1, x.shape[1], x.shape[2]).bernoulli_(1 - rate) / (1 - rate)
        return x * mask

    def body() -> Any:
        if layers:
            x = functional.embedding(tokens, table.detach())
        else:
            kept = table
            if rates["embedding_dropout"]:
                keep = 1 - rates["embedding_dropout"]
                kept = table * (table.new_empty(len(table), 1).bernoulli_(keep) / keep)
            x = locked(functional.embedding(tokens, kept), rates["input_dropout"])
        for i, layer in enumerate(weights):
            recurrent = functional.dropout(layer["recurrent"], rates["weight_dropout"])
            flat = [layer["input"], recurrent, layer["bias"], zero[i]]
            x, *after = torch._VF.lstm(x, state[i], flat, True, 1, 0.0, True, False, False)
            state[i] = tuple(part.detach() for part in after)
            x = locked(x, rates["hidden_dropout" if i < DEPTH - 1 else "output_dropout"])
        return x

    def run_layers() -> float:
        for value in moving:
            value.grad = None
        total = body().sum()
        total.backward()
        return float(total.detach())

    def run_step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = functional.linear(body(), table, bias)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {"step": run_layers if layers else run_step}


def check(hidden: int, layers: bool) -> float:
    """Relative difference of three steps' losses without dropout; raises if it is large."""
    given = data(200, 4, 9)
    mine = ours(given, 200, hidden, 0.0, layers)
    peer = theirs(mine, given, 0.0, layers)
    losses = [(mine["step"](), peer["step"]()) for _ in range(3)]
    worst = max(abs(a - b) / abs(b) for a, b in losses)
    # Adam divides near-zero gradients by their own size: later losses agree to fewer digits.
    if abs(losses[0][0] - losses[0][1]) > 1e-5 * abs(losses[0][1]) or worst > 1e-3:
        raise SystemExit(f"the sides do not compute the same losses: {losses}")
    return worst


def compare(hidden: int, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """One row: milliseconds of both sides, and torch's time over ours."""
    given = data(args.vocabulary, batch, args.length)
    mine = ours(given, args.vocabulary, hidden, 1.0, args.layers_only)
    peer = theirs(mine, given, 1.0, args.layers_only)
    times = alternate({"tlearn": mine["step"], "torch": peer["step"]}, args.repeats)
    tokens = batch * args.length
    return {
        "what": "layers" if args.layers_only else "train step",
        "hidden": hidden,
        "batch": batch,
        "length": args.length,
        "vocabulary": args.vocabulary,
        "ms": {name: median_ms(t) for name, t in times.items()},
        "tokens_per_s": {name: tokens / (median_ms(t) / 1e3) for name, t in times.items()},
        "over_tlearn": ratio(times["torch"], times["tlearn"], "wall"),
        "over_tlearn_cpu": ratio(times["torch"], times["tlearn"], "cpu"),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[400, 1150])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--length", type=int, default=70)
    parser.add_argument("--vocabulary", type=int, default=10000)
    parser.add_argument("--layers-only", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    import torch  # noqa: TID251 - the peer

    torch.set_num_threads(args.threads)
    rows = []
    for hidden in args.hidden:
        worst = check(hidden, args.layers_only)
        print(f"hidden {hidden}: losses agree to {worst:.0e}", flush=True)
        for batch in args.batch:
            row = compare(hidden, batch, args)
            rows.append(row)
            each = ", ".join(
                f"{name} {ms:.0f} ms ({row['tokens_per_s'][name]:.0f} tokens/s)"
                for name, ms in row["ms"].items()
            )
            print(
                f"{row['what']}, hidden {hidden}, batch {batch}, length {args.length}: {each}; "
                f"torch / tlearn {row['over_tlearn']:.2f} (by CPU time "
                f"{row['over_tlearn_cpu']:.2f})",
                flush=True,
            )
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats, dropouts=DROPOUTS)


if __name__ == "__main__":
    main()
