"""Host memory that batches of pre-training take beside their tokens, and what their first costs.

A synthetic store on disk, of short or of long documents, is divided as a run divides it, and for
every kind of batches a process of its own makes some batches of two epochs. `peak` is what Python
and NumPy had allocated at most (files that are mapped are no part of it; pages of them are given
back when memory is short), `files` what lies in scratch files instead, `first` the core's
own seconds up to the first batch.

    python experiments/bench/batch_memory.py [--tokens 120000000] [--mean 20 500] [--batch 32]
        [--length 128] [--kinds packed ...] [--json PATH]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from batch_kinds import SPECIAL, VOCABULARY, kinds

KINDS = ["streams", "packed", "crossing", "masked tokens", "next_sentence", "span_corruption"]
"""What is measured where nothing else of `batch_kinds` is asked for: one of each kind of tables."""
_CHUNK = 1 << 22


def write_store(folder: Path, tokens: int, mean: int) -> None:
    """Writes a store of documents of uneven length, sentences of about 15 tokens."""
    from tlearn.data.token_store_file import FORMAT

    rng = np.random.default_rng(0)
    count = tokens // mean
    with (folder / "starts.bin").open("wb") as file:
        file.write(np.zeros(1, "<i8").tobytes())
        total = 0
        for begin in range(0, count, _CHUNK):
            lengths = rng.lognormal(np.log(mean) - 0.5, 1.0, min(_CHUNK, count - begin))
            ends = total + np.cumsum(np.maximum(lengths, 1).astype(np.int64))
            file.write(ends.astype("<i8").tobytes())
            total = int(ends[-1])
    starts = np.memmap(folder / "starts.bin", "<i8", "r")
    sentences = 0
    with (
        (folder / "tokens-00000.bin").open("wb") as numbers,
        (folder / "words.bin").open("wb") as words,
        (folder / "sentences.bin").open("wb") as begins,
    ):
        for begin in range(0, total, _CHUNK):
            size = min(_CHUNK, total - begin)
            numbers.write(rng.integers(7, VOCABULARY - 100, size, np.uint16).tobytes())
            words.write((rng.random(size) < 0.7).tobytes())
            first, last = np.searchsorted(starts[:-1], (begin, begin + size))
            places = begin + np.flatnonzero(rng.random(size) < 1 / 15)
            places = np.unique(np.concatenate([places, starts[first:last]]))
            begins.write(places.astype("<i8").tobytes())
            sentences += len(places)
    for name, dtype in (("ids", "u1"), ("id_starts", "<i8")):
        np.zeros(count + 1 if name == "id_starts" else 0, dtype).tofile(folder / f"{name}.bin")
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    meta = {"format": FORMAT, "dtype": "<u2", "shards": [total], "files": sizes, "tokens": total}
    (folder / "meta.json").write_text(json.dumps(meta))


def opened(folder: Path) -> Any:
    """Maps the store."""
    from tlearn.data import TokenStore
    from tlearn.data.token_store_file import map_files

    meta = json.loads((folder / "meta.json").read_text())
    return TokenStore(
        name="random",
        **map_files(folder, meta),
        vocab_size=VOCABULARY,
        special=SPECIAL,
        pad=0,
        digest="0",
        how="random",
        folder=folder,
        scratch=folder,
    )


def made(store: Any, kind: str, batch: int, length: int) -> Any:
    """Batches of one kind."""
    makers = kinds(store, batch, length, bptt=length)
    return {name: make for named in makers.values() for name, make in named.items()}[kind]()


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _scratch() -> int:
    """Bytes of mapped files that have no name."""
    sizes = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("(deleted)"):
            begin, end = (int(place, 16) for place in line.split()[0].split("-"))
            sizes += end - begin
    return sizes


def child(folder: Path, kind: str, batch: int, length: int, traced: bool) -> dict[str, float]:
    """Makes batches of one kind and says what that took."""
    from tlearn.data import split_store

    store = opened(folder)
    before = _resident("RssAnon")
    if traced:
        tracemalloc.start()
    began = time.process_time()
    part = split_store(store, 0.05, 0)[0]
    divided = time.process_time() - began
    batches = made(part, kind, batch, length)
    batches.at(0)
    first = time.process_time() - began
    per = batches.steps_per_epoch
    for step in (1, 2, per // 2, per - 1, per, per + 1):
        batches.at(step)
    if traced:
        return {"peak": tracemalloc.get_traced_memory()[1]}
    left = _resident("RssAnon") - before
    began = time.process_time()
    for step in range(100):
        batches.at(step % per)
    rate = time.process_time() - began
    return {
        "divided_s": divided,
        "first_s": first,
        "left": left,
        "files": _scratch(),
        "ms_a_batch": 10 * rate,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=120_000_000)
    parser.add_argument("--mean", type=int, nargs="+", default=[20, 500])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        folder, kind, traced = args.child
        found = child(Path(folder), kind, args.batch, args.length, traced == "traced")
        print(json.dumps(found))
        return
    from side_by_side import write

    sizes = ("--batch", str(args.batch), "--length", str(args.length))
    rows = []
    for mean in args.mean:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder), args.tokens, mean)
            for name in args.kinds:
                row: dict[str, Any] = {"kind": name, "tokens": args.tokens, "mean": mean}
                for how in ("plain", "traced"):
                    out = subprocess.run(
                        [sys.executable, __file__, *sizes, "--child", folder, name, how],
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    row |= json.loads(out.stdout)
                rows.append(row)
                print(
                    f"{name:15} documents of {mean:>5}: peak {row['peak'] / 2**20:7.1f} MiB, left "
                    f"{row['left'] / 2**20:7.1f}, files {row['files'] / 2**20:7.1f}, first "
                    f"{row['first_s']:6.2f} s, {row['ms_a_batch']:.2f} ms a batch",
                    flush=True,
                )
    if args.json:
        write(args.json, rows, tokens=args.tokens)


if __name__ == "__main__":
    main()
