"""Settings every test shares: fake CPU devices, strict ranks, a compile cache, the real data."""

import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 4)
# XLA runs the parts of a program in a pool of as many threads as there are cores. Four devices that
# each wait in two all-reduces fill a small pool, and the program that would free them never starts:
# on two cores one run in twelve of a batch-normalised gradient hung, and XLA then ends the process.
os.environ.setdefault("NPROC", "16")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Keyed per user and kept between runs: compiled programs are the larger part of the suite's time.
_cache = Path(tempfile.gettempdir()) / f"tlearn-test-cache-{os.getuid()}"
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


_BEGINNINGS: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def drawn_from_the_beginning(request):
    """A module's ``RNG`` begins every test where its import left it.

    Else what a test draws depends on which others ran before it, and on several processes that is
    another matter in every run.
    """
    rng = getattr(request.module, "RNG", None) if request.module is not None else None
    if isinstance(rng, np.random.Generator):
        state = rng.bit_generator.state
        rng.bit_generator.state = _BEGINNINGS.setdefault(request.module.__name__, state)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights: TLEARN_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TLEARN_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder} is no folder (set TLEARN_DATA)")
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """A finished run that a test may start from, and must not write to."""
    from small_runs import pretrain

    return pretrain(tmp_path_factory.mktemp("source") / "digits")
