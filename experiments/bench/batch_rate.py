"""How fast batches of pre-training are made on one core, held against the steps that use them.

The corpus is a memory-mapped array of random tokens of which the batches see the training part, as
in a run: tokens are gathered from where they lie. Every kind of batches is timed over new steps by
the core's own time, so that other work on the machine does not count. With `--steps` the library's
training steps of a small BERT (2 layers of 128) on masked rows and pairs, and of an AWD-LSTM (3
layers of 400) on streams are timed on all threads: `need` is the share of a step's time that one
core spends on its batch, which must stay below 1.

    python experiments/bench/batch_rate.py [--batch 32] [--length 128] [--bptt 70]
        [--tokens 4000000] [--repeats 200] [--steps] [--threads 2] [--json PATH]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from side_by_side import settle, write

VOCABULARY, MEAN = 8000, 300
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 5, "eos": 6}


def corpus(tokens: int, folder: Path) -> Any:
    """The training part of a store on disk: documents of uneven length, sentences of 25 tokens."""
    import numpy as np

    from tlearn.data import TokenStore, split_store

    rng = np.random.default_rng(0)
    lengths = np.maximum(rng.lognormal(np.log(MEAN) - 0.5, 1.0, tokens // MEAN), 1).astype(int)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(starts[-1])
    sentences = np.unique(np.concatenate([starts[:-1], np.flatnonzero(rng.random(total) < 0.04)]))

    def mapped(name: str, values: Any) -> Any:
        values.tofile(folder / name)
        return np.memmap(folder / name, values.dtype, "r")

    store = TokenStore(
        name="random",
        tokens=mapped("tokens", rng.integers(7, VOCABULARY - 100, total).astype(np.uint16)),
        starts=mapped("starts", starts),
        sentences=mapped("sentences", sentences),
        word_starts=mapped("words", rng.random(total) < 0.7),
        ids=[str(i) for i in range(len(lengths))],
        vocab_size=VOCABULARY,
        special=SPECIAL,
        pad=0,
        digest="0",
        how="random",
    )
    return split_store(store, 0.05, 0)[0]


def kinds(store: Any, batch: int, length: int, bptt: int) -> dict[str, Any]:
    """Every kind of batches by name."""
    from tlearn.data import (
        MaskedBatches,
        Masking,
        PackedBatches,
        PairBatches,
        SpanBatches,
        StreamBatches,
    )

    end = SPECIAL["eos"]
    row = (store, batch, length)
    drawn: dict[str, Any] = {"seed": 0, "shuffle": True}
    sentinels = tuple(range(VOCABULARY - 1, VOCABULARY - 101, -1))
    return {
        "stream": StreamBatches(store, batch, bptt, eos=end, **drawn),
        "stream, backward": StreamBatches(store, batch, bptt, eos=end, backward=True, **drawn),
        "packed": PackedBatches(*row, eos=end, **drawn),
        "packed, across": PackedBatches(*row, eos=end, cross=True, **drawn),
        "masked tokens": MaskedBatches(*row, **drawn),
        "masked words": MaskedBatches(*row, masking=Masking(unit="word"), **drawn),
        "masked runs": MaskedBatches(*row, masking=Masking(unit="ngram"), **drawn),
        "pairs, next": PairBatches(*row, **drawn),
        "pairs, swapped runs": PairBatches(
            *row, order="swap", masking=Masking(unit="ngram"), **drawn
        ),
        "spans": SpanBatches(*row, eos=end, sentinels=sentinels, **drawn),
        "prefix": SpanBatches(*row, eos=end, objective="prefix", **drawn),
    }


def measure(name: str, batches: Any, repeats: int) -> dict[str, Any]:
    """Milliseconds of a batch, rows and tokens a second; and what is worked out once."""
    began = time.process_time()
    first = batches.at(0)
    once = time.process_time() - began
    times, tokens = [], 0
    for step in range(1, repeats + 1):
        began = time.process_time()
        batch = batches.at(step)
        times.append(time.process_time() - began)
        tokens += int((batch["segments"] > 0).sum())
    mean = statistics.fmean(times)
    return {
        "kind": name,
        "rows": len(first["index"]),
        "length": first["tokens"].shape[1],
        "ms": 1e3 * mean,
        "median_ms": 1e3 * statistics.median(times),
        "rows_per_second": len(first["index"]) / mean,
        "tokens_per_second": tokens / repeats / mean,
        "filled": tokens / repeats / first["tokens"].size,
        "first_ms": 1e3 * once,
    }


def training(body: Any, head: Any, objective: Any, given: dict[str, Any]) -> Callable[[], Any]:
    """The library's training step on one batch, as a call without arguments."""
    import jax
    import jax.numpy as jnp

    from tlearn.model import Model, initialise
    from tlearn.train.schedules import Constant
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe, compile_step, make_step
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    model = Model(body, head)
    batch = {name: jnp.asarray(value) for name, value in given.items()}
    params, _ = initialise(model, jax.random.key(0), *(batch[name][:1] for name in body.inputs))
    optimizer = adamw(1e-4, Constant())
    rows = plan(params, Strategy(), layers=body.layer_names)
    recurrent = getattr(body, "initial_carry", None)
    carry = recurrent(len(given["tokens"])) if recurrent else None
    key = jax.random.key(1)
    state = init(rows, params, {}, optimizer, total=1000, key=key, carry=carry)
    step = compile_step(make_step(model, rows, objective, Recipe(optimizer=optimizer)))
    holder = {"state": state}

    def run() -> None:
        holder["state"], _ = step(holder["state"], batch, SourceWeights())
        jax.block_until_ready(holder["state"])

    return run


def steps(made: dict[str, Any], repeats: int) -> dict[str, float]:
    """Milliseconds of the training steps that the kinds of batches are for."""
    from tlearn import bodies, heads
    from tlearn.objectives import MaskedPairs, MaskedTokens, NextTokens

    bert = bodies.create("bert-tiny", vocab_size=VOCABULARY)
    lstm = bodies.create("awd-lstm", vocab_size=VOCABULARY, width=400, hidden=400, depth=3, bptt=0)
    given = {name: batches.at(1) for name, batches in made.items()}
    decoder = heads.create("causal_lm", use_bias=True)
    runs = {
        "stream": training(lstm, decoder, NextTokens(), given["stream"]),
        "masked tokens": training(
            bert, heads.create("masked_lm"), MaskedTokens(), given["masked tokens"]
        ),
        "pairs, next": training(
            bert, heads.create("pretraining"), MaskedPairs(), given["pairs, next"]
        ),
    }
    found = {}
    for name, run in runs.items():
        times = []
        for turn in range(repeats + 2):
            began = time.perf_counter()
            run()
            if turn > 1:
                times.append(time.perf_counter() - began)
        found[name] = 1e3 * min(times)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--bptt", type=int, default=70)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        made = kinds(corpus(args.tokens, Path(folder)), args.batch, args.length, args.bptt)
        os.sched_setaffinity(0, {min(cores)})
        rows = [measure(name, batches, args.repeats) for name, batches in made.items()]
        os.sched_setaffinity(0, cores)
        needs = steps(made, 5) if args.steps else {}
    for row in rows:
        if row["kind"] in needs:
            row["step_ms"] = needs[row["kind"]]
            row["need"] = row["ms"] / row["step_ms"]
        step = f"   step {row['step_ms']:.0f} ms, need {row['need']:.2g}" if "need" in row else ""
        print(
            f"{row['kind']:20} {row['rows']} x {row['length']:<4} {row['ms']:6.2f} ms a batch "
            f"{row['rows_per_second']:9,.0f} rows/s {row['tokens_per_second']:11,.0f} tokens/s "
            f"{row['filled']:5.1%} filled, first {row['first_ms']:.0f} ms{step}"
        )
    if args.json:
        write(args.json, rows, tokens=args.tokens, repeats=args.repeats, threads=args.threads)


if __name__ == "__main__":
    main()
