"""What loading costs: memory of about the weights once, and nothing at all to look at names."""

import json
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.hub.folders import CONFIG, bert_arrays, write_folder
from tlearn import hub

BENCH = Path(__file__).parents[2] / "experiments" / "bench"


@pytest.mark.slow
def test_loading_peaks_at_little_more_than_the_weights(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import load_memory

    found = load_memory.measure(300)
    assert found["bytes"] > 280 * 2**20
    assert found["peak"] <= 1.2 * found["bytes"]
    # Pages of the file are given back as soon as they were read.
    assert found["left_file_pages"] < 2**24


def sparse_folder(path, d=4096, blocks=24, vocab=250_000):
    """A BERT of 24 GB that takes no room on the disk: the header is real, the rest a hole."""
    small = bert_arrays(classes=0, blocks=blocks)
    sizes = {8: d, 16: 4 * d, 30: vocab, 12: 512, 2: 2}
    header, end = {}, 0
    for name in sorted(small):
        shape = [sizes[n] for n in small[name].shape]
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + end)
    config = {
        **CONFIG,
        "architectures": ["BertModel"],
        "vocab_size": vocab,
        "hidden_size": d,
        "num_hidden_layers": blocks,
        "num_attention_heads": 32,
        "intermediate_size": 4 * d,
        "max_position_embeddings": 512,
    }
    (path / "config.json").write_text(json.dumps(config))
    return end


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
def test_a_look_at_names_and_shapes_reads_no_weight(tmp_path):
    size = sparse_folder(tmp_path)
    assert size > 20 * 2**30
    hub.load(f"hf:{write_folder(tmp_path / 'small')}", read=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    source = hub.load(f"hf:{tmp_path}", read=False)
    wanted = {p: np.broadcast_to(np.float32(0), leaf.shape) for p, leaf in source.params.items()}
    params, _, report = hub.reconcile(source, wanted, {}, read=False)
    assert time.process_time() - begin < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 2**10
    assert sum(value.size * 4 for value in params.values()) == size
    assert len(report.paths("loaded")) == len(wanted)
