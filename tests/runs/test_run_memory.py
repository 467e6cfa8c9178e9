"""What loading into the state of a run, or of a study's runs, takes beside the weights.

Both are measured as the kernel counts, in a process of its own that has traced the same run before:
what tracing takes is no part of loading. Breaks tried: a study's states of copies; the source's
digest of whole leaves.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small_texts

TESTS = Path(__file__).parents[1]
BENCH = TESTS.parent / "experiments" / "bench"
CHILD = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
import jax
import small_texts
from tlearn.runs.build import build
from tlearn.runs.study.gathering import gather

def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

def run(config):
    return build(config).start()

def study(config):
    block = gather([config]).block([0])
    return block.states, block.shared

options = dict(freeze="body", optimizer="sgd", batch_size=4, length="2st")
small, large = (small_texts.config(place, sys.argv[2], **options) for place in sys.argv[3:5])
begin = {"run": run, "study": study}[sys.argv[5]]
jax.block_until_ready(begin(small))
build(large, draw=False)
gc.collect()
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
state = jax.block_until_ready(begin(large))
peak = resident("VmHWM") - before
print(json.dumps([sum(leaf.nbytes for leaf in jax.tree.leaves(state)), peak]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
def test_loading_into_a_state_peaks_at_little_more_than_the_weights(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import load_memory

    sizes, large = load_memory.fields(300), tmp_path / "large"
    large.mkdir()
    load_memory.write_checkpoint(large, sizes)
    more = [f"word{i}" for i in range(sizes["vocab_size"] - len(small_texts.WORDS))]
    (large / "vocab.txt").write_text("\n".join([*small_texts.WORDS, *more]) + "\n")
    small = small_texts.bert_folder(tmp_path / "small")
    reviews = small_texts.reviews(tmp_path / "reviews")
    for what in ("run", "study"):
        out = subprocess.run(
            [sys.executable, "-c", CHILD, TESTS, reviews, small, large, what],
            check=True,
            capture_output=True,
            text=True,
        )
        size, peak = json.loads(out.stdout.splitlines()[-1])
        assert size > 280 * 2**20
        assert peak <= 1.2 * size, f"{what}: {peak / size:.3f}"
