"""Host memory and time of loading a large checkpoint: peak over the checkpoint's own size.

A synthetic BERT of about the size asked for is written as one safetensors file. A process of its
own loads it and puts it onto the CPU "device", whose memory is the host's too; so the ideal is 1.0.
The peak is the kernel's high-water mark of the whole resident set (VmHWM, reset before loading, so
that file pages mapped by the reader count as well), less what was resident before.

    python experiments/bench/load_memory.py [--mib 1024] [--json PATH]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

CHILD = """
import json, sys, time
import jax, jax.numpy as jnp
from tlearn import bodies, hub
from tlearn.params import flatten

def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

jnp.ones(3).block_until_ready()
body = bodies.build({"family": "bert", **json.loads(sys.argv[2])})
tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
drawn = jax.eval_shape(lambda k, *x: body.init(k, *x), jax.random.key(0), *[tokens] * 3)
wanted = {f"body/{path}": leaf for path, leaf in flatten(drawn["params"]).items()}
# Once on nothing, so that what is imported on the way is resident before.
hub.load(sys.argv[1], read=False)
open("/proc/self/clear_refs", "w").write("5")
before, files = resident("VmRSS"), resident("RssFile")
begin = time.perf_counter()
source = hub.load(sys.argv[1], read=False)
looked = time.perf_counter() - begin
source = hub.load(sys.argv[1])
params, _, report = hub.reconcile(source, wanted, {})
took = time.perf_counter() - begin
size = sum(value.nbytes for value in params.values())
found = {
    "bytes": size,
    "peak": resident("VmHWM") - before,
    "left": resident("VmRSS") - before,
    "left_file_pages": resident("RssFile") - files,
    "seconds": took,
    "seconds_look": looked,
}
print(json.dumps(found))
"""


def fields(mib: int) -> dict[str, int]:
    """A BERT of about so many MiB in float32."""
    width, vocab = (1024, 30522) if mib >= 768 else (512, 16000)
    block = 12 * width * width * 4
    depth = max(1, round((mib * 2**20 - vocab * width * 4) / block))
    return {
        "vocab_size": vocab,
        "width": width,
        "depth": depth,
        "heads": width // 64,
        "feed_forward": 4 * width,
    }


def write_checkpoint(folder: Path, sizes: dict[str, int]) -> None:
    """Writes the checkpoint with Hugging Face's names."""
    from safetensors.numpy import save_file

    d, f = sizes["width"], sizes["feed_forward"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (sizes["vocab_size"], d),
        "embeddings.position_embeddings.weight": (512, d),
        "embeddings.token_type_embeddings.weight": (2, d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
        "pooler.dense.weight": (d, d),
        "pooler.dense.bias": (d,),
    }
    for i in range(sizes["depth"]):
        at = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{at}.attention.{part}.weight"] = (d, d)
            shapes[f"{at}.attention.{part}.bias"] = (d,)
        shapes |= {f"{at}.intermediate.dense.weight": (f, d), f"{at}.intermediate.dense.bias": (f,)}
        shapes |= {f"{at}.output.dense.weight": (d, f), f"{at}.output.dense.bias": (d,)}
        for part in ("attention.output", "output"):
            shapes |= {f"{at}.{part}.LayerNorm.{end}": (d,) for end in ("weight", "bias")}
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    save_file(arrays, str(folder / "model.safetensors"))
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": sizes["vocab_size"],
        "hidden_size": d,
        "num_hidden_layers": sizes["depth"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": f,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))


def measure(mib: int) -> dict[str, Any]:
    """Writes a checkpoint, loads it in a process of its own, and says what that took."""
    sizes = fields(mib)
    with tempfile.TemporaryDirectory() as place:
        write_checkpoint(Path(place), sizes)
        out = subprocess.run(
            [sys.executable, "-c", CHILD, f"hf:{place}", json.dumps(sizes)],
            check=True,
            capture_output=True,
            text=True,
        )
    found = json.loads(out.stdout)
    return {**found, "ratio": found["peak"] / found["bytes"]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = measure(chosen.mib)
    print(
        f"{found['bytes'] / 2**20:.0f} MiB of parameters: peak {found['peak'] / 2**20:.0f} MiB "
        f"({found['ratio']:.3f} of them), {found['left'] / 2**20:.0f} MiB at the end; "
        f"{found['seconds']:.1f} s with all digests, {found['seconds_look']:.2f} s to look at names"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
