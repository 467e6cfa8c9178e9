"""An epoch of fine-tuning on short texts: batches in a few widths against padding all to 128.

The widths and how many batches have each are those of SST-2's training texts as `tlearn finetune`
cuts them; a step of every width is timed in turn in this process, and an epoch is the sum of its
batches' median times. That both compute the same is held by the library's tests.

    python experiments/bench/text_epoch.py --model DIR --data DIR [--padded 128] [--json PATH]

DIR of --model is a Hugging Face folder with a tokenizer; DIR of --data holds sst2/.
"""

import argparse
from pathlib import Path

import numpy as np
from side_by_side import alternate, median_ms, settle, write
from text_step import data, ours

from tlearn.data import TextBatches, Tokenizer, open_texts, tokenise
from tlearn.data.tokenizer_files import FILES


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shape", default="minilm-l6")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--padded", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    files = {n: (args.model / n).read_bytes() for n in FILES if (args.model / n).is_file()}
    texts = tokenise(
        open_texts(f"text:{args.data / 'sst2'}", "train"),
        Tokenizer.from_files(files),
        max_length=args.padded,
    )
    batches = TextBatches(texts, args.batch, seed=0, shuffle=True)
    widths = [batches.width(step) for step in range(batches.steps_per_epoch)]
    counts = {int(w): int(n) for w, n in zip(*np.unique(widths, return_counts=True), strict=True)}
    steps = {
        width: ours(args.shape, data(args.batch, width), "none", 0.1)["train step"]
        for width in sorted({*counts, args.padded})
    }
    times = alternate({str(width): step for width, step in steps.items()}, args.repeats)
    ms = {width: median_ms(times[str(width)]) for width in steps}
    buckets = sum(count * ms[width] for width, count in counts.items()) / 1000
    padded = batches.steps_per_epoch * ms[args.padded] / 1000
    row = {
        "shape": args.shape,
        "batch": args.batch,
        "texts": len(texts),
        "batches_by_width": counts,
        "ms_by_width": ms,
        "padding_share": batches.waste,
        "epoch_in_widths_s": buckets,
        "epoch_padded_s": padded,
        "padded_over_widths": padded / buckets,
    }
    for name, value in row.items():
        print(f"{name}: {value}")
    if args.json:
        write(args.json, [row], threads=args.threads, repeats=args.repeats)


if __name__ == "__main__":
    main()
