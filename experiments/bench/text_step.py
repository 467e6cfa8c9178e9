"""Fine-tuning step and forward pass of BERT-shaped bodies, beside transformers' BERT in torch.

Both sides start from the same weights, compute the same loss and take the same AdamW step; that is
checked first, without dropout, over two steps. Then both run with dropout 0.1 in this process, in
turn, with the same allocator settings. Ratios are torch's time over tlearn's: above 1 tlearn is
faster. tlearn's step is the library's own, gradient norm and metrics included. Torch runs eagerly
with its fused attention, once with its default AdamW and once with the fused one; `--compiled` adds
torch.compile. With a part frozen, both sides run that part without dropout and without gradients.

    python experiments/bench/text_step.py [--shape minilm-l6 bert-base] [--batch 8 32]
        [--length 32 64 128] [--freeze none half body] [--compiled] [--threads 2] [--json PATH]

`--first-step` measures instead how long a new process takes from the end of its imports to the end
of its first step, with a cold and with a warm compile cache, its weights loaded from a Hugging Face
folder as a fine-tuning's are.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write

CLASSES, RATE, DECAY, DROPOUT = 2, 2e-5, 0.01, 0.1
Batch = dict[str, Any]


def data(batch: int, length: int) -> Batch:
    """Random tokens of full length, and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        "tokens": rng.integers(1000, 20000, (batch, length)).astype(np.int32),
        "segments": np.ones((batch, length), np.int32),
        "types": np.zeros((batch, length), np.int32),
        "label": rng.integers(0, CLASSES, batch).astype(np.int32),
        "mask": np.ones(batch, np.float32),
        "index": np.arange(batch, dtype=np.int32),
    }


def frozen(freeze: str, depth: int) -> str:
    """The strategy's word: ``half`` is the embeddings and the lower half of the blocks."""
    return f"bottom:{1 + depth // 2}" if freeze == "half" else freeze


def ours(shape: str, given: Batch, freeze: str, dropout: float, folder: str = "") -> dict[str, Any]:
    """The library's step and forward pass as calls without arguments, and the starting weights.

    The body's weights are loaded if a folder is given, and drawn otherwise.
    """
    import jax
    import jax.numpy as jnp

    from tlearn import bodies, heads, hub
    from tlearn.model import Model, initialise, shapes, variables
    from tlearn.objectives import Classification
    from tlearn.train.loop import Program, timeline
    from tlearn.train.schedules import Constant
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    body = bodies.create(shape, dropout=dropout, attention_dropout=dropout)
    model = Model(body, heads.Linear(CLASSES, kernel_init="scaled", dropout=dropout))
    batch = {name: jnp.asarray(value) for name, value in given.items()}
    inputs = [batch[name] for name in body.inputs]
    examples = [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in inputs]
    loaded = hub.load(f"hf:{folder}", pooling=body.pooling).params if folder else {}
    optimizer = adamw(RATE, Constant())
    strategy = Strategy(freeze=frozen(freeze, body.depth), weight_decay=DECAY)
    described, _ = shapes(model, *examples)
    rows = plan(described, strategy, layers=body.layer_names)

    def begin(params: Any) -> Any:
        return init(rows, params, {}, optimizer, total=1000, key=jax.random.key(1))

    line = timeline((rows,), steps_per_epoch=1000, steps=1000)
    recipe = Recipe(optimizer=optimizer)
    program = Program(model, (rows,), Classification(CLASSES), recipe, line)
    started = time.perf_counter()
    program.compile_ahead(0, jax.eval_shape(begin, described), batch, SourceWeights())

    # Of what is loaded nothing is drawn: what nobody reads is not compiled.
    @jax.jit
    def draw(key: Any) -> Any:
        drawn, _ = initialise(model, key, *examples)
        return {path: value for path, value in drawn.items() if path not in loaded}

    params = {path: value for path, value in loaded.items() if path in described}
    params |= draw(jax.random.key(0))
    state = begin(params)
    step = program.step(0)
    compile_s = time.perf_counter() - started
    forward = jax.jit(lambda params, *inputs: model.apply(variables(params, {}), *inputs))
    holder = {"state": state}

    def train():
        holder["state"], log = step(holder["state"], batch, SourceWeights())
        jax.block_until_ready(holder["state"])
        return float(log["loss"]) / float(log["count"])

    return {
        "train step": train,
        "forward": lambda: jax.block_until_ready(forward(params, *inputs)),
        "params": params,
        "decayed": {row.path: row.decay for row in rows.rows},
        "body": body,
        "compile_s": compile_s,
    }


def peer_config(body: Any, dropout: float) -> Any:
    """The shape of a body, as transformers says it."""
    import transformers

    return transformers.BertConfig(
        vocab_size=body.vocab_size,
        hidden_size=body.width,
        num_hidden_layers=body.depth,
        num_attention_heads=body.heads,
        intermediate_size=body.feed_forward,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=None,
    )


def theirs(
    side: dict[str, Any], given: Batch, freeze: str, dropout: float, threads: int, kind: str
) -> dict[str, Any]:
    """The same in torch, from the same weights."""
    import numpy as np
    import torch  # noqa: TID251 - the peer
    import transformers

    torch.set_num_threads(threads)
    body, params = side["body"], side["params"]
    config = peer_config(body, dropout)
    config.num_labels = CLASSES
    network: Any = transformers.BertForSequenceClassification(config)
    tensors = dict(network.named_parameters())
    paths = {name: our_path(name) for name in tensors}
    with torch.no_grad():
        for name, path in paths.items():
            value = np.array(params[path])
            tensors[name].copy_(torch.from_numpy(value.T if path.endswith("kernel") else value))
    network.train()
    if freeze != "none":
        stages = [network.bert.embeddings, *network.bert.encoder.layer[: body.depth // 2]]
        for stage in [network.bert] if freeze == "body" else stages:
            stage.eval().requires_grad_(False)
    trained = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    groups = [
        {
            "params": [t for n, t in trained.items() if side["decayed"][paths[n]] == decay],
            "weight_decay": decay,
        }
        for decay in sorted({side["decayed"][paths[name]] for name in trained})
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=kind != "torch" or None)
    text = {
        "input_ids": torch.from_numpy(given["tokens"].astype(np.int64)),
        "attention_mask": torch.from_numpy(given["segments"].astype(np.int64)),
        "token_type_ids": torch.from_numpy(given["types"].astype(np.int64)),
    }
    label = torch.from_numpy(given["label"].astype(np.int64))
    still: Any = transformers.BertForSequenceClassification(config).eval()
    run, run_still = network, still
    if kind == "torch, compiled":
        run, run_still = torch.compile(network), torch.compile(still)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(run(**text).logits, label)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def forward():
        with torch.inference_mode():
            return run_still(**text).logits

    return {"train step": train, "forward": forward}


def our_path(name: str) -> str:
    """The path of transformers' parameter in our tree."""
    for theirs, mine in (
        ("bert.", "body/"),
        ("classifier.", "head/dense/"),
        ("word_embeddings.weight", "tokens/embedding"),
        ("position_embeddings.weight", "positions/embedding"),
        ("token_type_embeddings.weight", "types/embedding"),
        ("embeddings.LayerNorm.", "embeddings/norm/"),
        ("attention.output.LayerNorm.", "attention_norm/"),
        ("attention.output.dense.", "attention/output/"),
        ("attention.self.", "attention/"),
        ("intermediate.dense.", "feed_forward/in/"),
        ("output.LayerNorm.", "feed_forward_norm/"),
        ("output.dense.", "feed_forward/out/"),
        ("encoder.layer.", "block_"),
        ("norm/weight", "norm/scale"),
    ):
        name = name.replace(theirs, mine)
    name = name.replace("weight", "kernel").replace(".", "/")
    number = name.partition("block_")[2].partition("/")[0]
    return name.replace(f"block_{number}/", f"block_{int(number):02d}/") if number else name


def check(shape: str, freeze: str, threads: int) -> float:
    """Relative difference of losses over three steps without dropout; raises if it is large."""
    given = data(4, 16)
    mine = ours(shape, given, freeze, 0.0)
    peer = theirs(mine, given, freeze, 0.0, threads, "torch")
    losses = [(mine["train step"](), peer["train step"]()) for _ in range(3)]
    worst = max(abs(a - b) / b for a, b in losses)
    # Adam divides near-zero gradients by their own size: later losses agree to fewer digits.
    if abs(losses[0][0] - losses[0][1]) > 1e-5 * losses[0][1] or worst > 1e-3:
        raise SystemExit(f"the sides do not compute the same losses: {losses}")
    return worst


def compare(
    shape: str, batch: int, length: int, freeze: str, kinds: list[str], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row for the training step and, where nothing is frozen, one for the forward pass."""
    given = data(batch, length)
    sides = {"tlearn": ours(shape, given, freeze, DROPOUT)}
    for kind in kinds:
        sides[kind] = theirs(sides["tlearn"], given, freeze, DROPOUT, args.threads, kind)
    rows = []
    for what in ("train step", "forward") if freeze == "none" else ("train step",):
        times = alternate({name: side[what] for name, side in sides.items()}, args.repeats)
        rows.append(
            {
                "shape": shape,
                "batch": batch,
                "length": length,
                "freeze": freeze,
                "what": what,
                "ms": {name: median_ms(t) for name, t in times.items()},
                "cpu_ms": {name: median_ms(t, "cpu") for name, t in times.items()},
                "over_tlearn": {k: ratio(times[k], times["tlearn"], "wall") for k in kinds},
                "over_tlearn_cpu": {k: ratio(times[k], times["tlearn"], "cpu") for k in kinds},
                "compile_s": sides["tlearn"]["compile_s"],
            }
        )
    return rows


FIRST_STEP = """
import sys, time
import jax, flax, optax, numpy
from tlearn import bodies, heads, model, objectives
from tlearn.hub import folder_source, loader
from tlearn.train import loop, state, step
from tlearn.transfer import plan
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
sys.path.insert(0, sys.argv[1])
import text_step
started, cpu = time.perf_counter(), time.process_time()
given = text_step.data(int(sys.argv[4]), int(sys.argv[5]))
side = text_step.ours(sys.argv[3], given, "none", 0.1, sys.argv[6])
ready = time.perf_counter()
side["train step"]()
print(ready - started, time.perf_counter() - started, time.process_time() - cpu)
"""


def first_step(shape: str, batch: int, length: int, repeats: int) -> dict[str, Any]:
    """Seconds from the end of the imports to the end of the first step, in new processes.

    In between: weights loaded, plan, state, step traced and compiled (or fetched), one step taken.
    """
    import transformers

    from tlearn import bodies

    here = str(Path(__file__).resolve().parent)
    body = bodies.create(shape)
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        transformers.BertModel(peer_config(body, DROPOUT)).save_pretrained(folder)
        found = []
        for _ in range(1 + repeats):
            asked = [here, cache, shape, str(batch), str(length), folder]
            command = [sys.executable, "-c", FIRST_STEP, *asked]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append([float(word) for word in done.stdout.split()[-3:]])
    cold, *warm = found
    best = min(warm, key=lambda times: times[1])
    return {
        "shape": shape,
        "batch": batch,
        "length": length,
        "what": "first step",
        "cold_s": cold[1],
        "median_warm_s": sorted(times[1] for times in warm)[len(warm) // 2],
        "warm_s": best[1],
        "warm_ready_s": best[0],
        "warm_cpu_s": best[2],
        "all_warm_s": [times[1] for times in warm],
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["minilm-l6"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--length", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--freeze", nargs="+", default=["none", "half", "body"])
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--first-step", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    kinds = ["torch", "torch, fused AdamW"] + ["torch, compiled"] * args.compiled
    rows: list[dict[str, Any]] = []
    if args.first_step:
        sizes = itertools.product(args.shape, args.batch, args.length)
        rows = [first_step(*size, args.repeats) for size in sizes]
        print(json.dumps(rows, indent=1))
    else:
        for shape in args.shape:
            for freeze in args.freeze:
                worst = check(shape, freeze, args.threads)
                print(f"{shape}, {freeze} frozen: losses agree to {worst:.0e}", flush=True)
                for batch in args.batch:
                    for length in args.length:
                        for row in compare(shape, batch, length, freeze, kinds, args):
                            show(row)
                            rows.append(row)
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats, dropout=DROPOUT)


def show(row: dict[str, Any]) -> None:
    """Prints a row."""
    times = ", ".join(f"{name} {ms:.0f} ms" for name, ms in row["ms"].items())
    print(
        f"{row['shape']}, batch {row['batch']}, length {row['length']}, {row['freeze']} frozen, "
        f"{row['what']}: {times}"
    )
    ratios = (
        f"{name} / tlearn {value:.2f} (by CPU time {row['over_tlearn_cpu'][name]:.2f})"
        for name, value in row["over_tlearn"].items()
    )
    print("    " + ", ".join(ratios), flush=True)


if __name__ == "__main__":
    main()
