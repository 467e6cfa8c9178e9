"""Timing two sides fairly on a machine that others use: alternate, take medians, say the load."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# glibc returns large blocks to the system and faults them in again at every step; kept, both sides
# run faster and steadier. Only its first arena keeps blocks of this size, whatever the thresholds
# say, and XLA allocates from threads of its own: so one arena. The same for both sides, since they
# share the process.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}


def settle(threads: int) -> None:
    """Restarts the process with the allocator's settings and on as many cores as asked for."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    os.sched_setaffinity(0, cores)


def alternate(
    sides: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Runs every side once to warm up, then all of them in turn; seconds by wall and by CPU.

    Each turn starts with another side, and each side after a pause and a run that does not count:
    one side's threads go on spinning for a while, and would be the next one's burden.
    """
    for run in sides.values():
        run()
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in sides}
    for turn in range(repeats):
        first = turn % len(sides)
        for name, run in [*sides.items()][first:] + [*sides.items()][:first]:
            time.sleep(0.005)
            run()
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times[name]["wall"].append(time.perf_counter() - wall)
            times[name]["cpu"].append(time.process_time() - cpu)
    return times


def median_ms(times: Mapping[str, list[float]], clock: str = "wall") -> float:
    """The median in milliseconds."""
    return 1e3 * statistics.median(times[clock])


def ratio(peer: Mapping[str, list[float]], ours: Mapping[str, list[float]], clock: str) -> float:
    """The median, over turns, of how many times longer the peer took."""
    return statistics.median(p / o for p, o in zip(peer[clock], ours[clock], strict=True))


def write(path: Path, rows: Any, **settings: Any) -> None:
    """Writes results with what is needed to read them later."""
    versions = {}
    for name in ("jax", "jaxlib", "flax", "optax", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "allocator": ALLOCATOR,
        "versions": versions,
        **settings,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
