"""How fast batches of texts are made on one core, beside the training steps that use them.

Every kind of batches is timed in turn with the library's own training step that it is for, in this
process: of the bodies of `tlearn pipeline`'s demos, whose steps are the fastest and so want the
most, or of published sizes. What is held against each other:

- prepared: rows a second of one core, new batches one after another, by that thread's own time, so
  that other work on the machine does not count. The first batch, which works out the order of an
  epoch, is told apart.
- needed: rows a second that the step takes on all threads when its batch lies ready, at the fastest
  it was seen. Labelled texts come in several widths; their step is that of the narrowest.

A kind keeps up if every single one of its batches, the first included, was made in less time than
the fastest step takes; `in_time` is the share that was. Where the step runs on the same cores, the
inverse of the ratio is the share of one core's time that preparation takes.

    python experiments/bench/batch_rate.py [--size demo base] [--step streams pairs] [--batch 32]
        [--length 64] [--bptt 20] [--tokens 4000000] [--repeats 40] [--turns 5] [--threads 2]
        [--json PATH]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from batch_kinds import corpus, kinds
from batch_steps import BODIES, FAMILIES, training
from side_by_side import alternate, median_ms, settle, write


class Preparation:
    """Makes so many new batches a call, and keeps this thread's seconds for each of them."""

    def __init__(self, batches: Any, repeats: int):
        """Makes the first one, which does what is done once."""
        self._batches, self._repeats, self._steps = batches, repeats, itertools.count()
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.slots: list[int] = []
        self._make()

    def _make(self) -> None:
        step = next(self._steps)
        began = time.thread_time()
        batch = self._batches.at(step)
        self.seconds.append(time.thread_time() - began)
        self.tokens.append(int((batch["segments"] > 0).sum()))
        self.slots.append(batch["tokens"].size)

    def __call__(self) -> None:
        """Makes the next ones."""
        for _ in range(self._repeats):
            self._make()


def example(batches: Any) -> dict[str, Any]:
    """A batch for the step: the second; the narrowest of an epoch where widths differ."""
    if not hasattr(batches, "width"):
        return batches.at(1)
    return batches.at(min(range(batches.steps_per_epoch), key=batches.width))


def measure(step: str, size: str, named: dict[str, Any], args: argparse.Namespace) -> list[Any]:
    """A row for each kind of batches that one step is for."""
    given = example(next(iter(named.values())))
    run = training(step, size, given)
    making = {name: Preparation(batches, args.repeats) for name, batches in named.items()}
    times = alternate({"step": run, **making}, args.turns)["step"]
    fastest = min(times["wall"])
    rows = []
    for name, made in making.items():
        once, *seconds = made.seconds
        mean = statistics.fmean(seconds)
        prepared, needed = args.batch / mean, args.batch / fastest
        in_time = statistics.fmean(second < fastest for second in made.seconds)
        rows.append(
            {
                "kind": name,
                "size": size,
                "body": FAMILIES[step],
                "variant": BODIES[size][FAMILIES[step]],
                "rows": args.batch,
                "length": given["tokens"].shape[1],
                "batches": len(made.seconds),
                "ms": 1e3 * mean,
                "median_ms": 1e3 * statistics.median(seconds),
                "slowest_ms": 1e3 * max(seconds),
                "first_ms": 1e3 * once,
                "filled": sum(made.tokens) / sum(made.slots),
                "prepared_rows_per_s": prepared,
                "prepared_tokens_per_s": sum(made.tokens[1:]) / sum(seconds),
                "step_ms": 1e3 * fastest,
                "median_step_ms": median_ms(times),
                "step_cpu_ms": median_ms(times, "cpu"),
                "needed_rows_per_s": needed,
                "prepared_over_needed": prepared / needed,
                "in_time": in_time,
                "keeps_up": in_time == 1.0,
            }
        )
    return rows


HEADER = (
    f"{'kind':30} {'body':9} {'batch':>9} {'prepared rows/s':>16} {'tokens/s':>11} {'ms':>6} "
    f"{'slowest':>8} {'first':>6} {'step ms':>8} {'needed rows/s':>14} {'ratio':>7} {'in time':>8} "
    " keeps up"
)


def line(row: dict[str, Any]) -> str:
    """A row as a line under `HEADER`."""
    shape = f"{row['rows']} x {row['length']}"
    return (
        f"{row['kind']:30} {row['body']:9} {shape:>9} {row['prepared_rows_per_s']:16,.0f} "
        f"{row['prepared_tokens_per_s']:11,.0f} {row['ms']:6.2f} {row['slowest_ms']:8.2f} "
        f"{row['first_ms']:6.1f} {row['step_ms']:8.1f} {row['needed_rows_per_s']:14,.0f} "
        f"{row['prepared_over_needed']:7,.0f} {row['in_time']:8.1%}  "
        f"{'yes' if row['keeps_up'] else 'NO'}"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", nargs="+", default=["demo"], choices=list(BODIES))
    parser.add_argument("--step", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--bptt", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = corpus(args.tokens, Path(folder))
        for size in args.size:
            print(f"{size}:\n{HEADER}", flush=True)
            for step in args.step:
                # Made anew, so that each body's first batches do what is done once.
                makers = kinds(store, args.batch, args.length, args.bptt)[step]
                named = {name: make() for name, make in makers.items()}
                for row in measure(step, size, named, args):
                    rows.append(row)
                    print(line(row), flush=True)
    behind = [f"{row['kind']} ({row['size']})" for row in rows if not row["keeps_up"]]
    print(f"not fast enough: {', '.join(behind)}" if behind else f"all {len(rows)} keep up")
    if args.json:
        write(
            args.json,
            rows,
            tokens=args.tokens,
            repeats=args.repeats,
            turns=args.turns,
            threads=args.threads,
        )


if __name__ == "__main__":
    main()
