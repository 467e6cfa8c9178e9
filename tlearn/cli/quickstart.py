"""The quickstart verb."""

import os
import sys
from collections.abc import Sequence

from tlearn.cli.options import read
from tlearn.runs.quickstart import Quickstart

LARGEST = 8
"""More virtual devices than this gain nothing on ten runs."""


def main(args: Sequence[str]) -> int:
    """Pre-trains on digits 0-4, transfers to 5-9 and writes a report."""
    options = read(
        Quickstart,
        args,
        verb="quickstart",
        about="Pre-train on the digits 0-4, transfer to 5-9 with few labels, compare strategies.",
    )
    import jax

    # Runs are independent: on a CPU each core takes its share of them as a device of its own.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", max(1, min(cores or 1, LARGEST)))
    from tlearn.runs.quickstart import run

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    run(options, say, " ".join(["tlearn quickstart", *args]))
    return 0
