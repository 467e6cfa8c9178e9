"""Tokens a second of generation with a cache, beside transformers' ``generate`` in torch.

Both sides hold the same randomly drawn GPT-2 or T5, are given the same random tokens (which a GPT-2
continues, and a T5's encoder reads), and make the same number of them, none of which ends a text.
That the likeliest tokens and the best beams are the same on both sides is checked first. Then both
run in this process, in turn, with the same allocator settings; a run is a whole call, from arrays
to arrays, a T5's encoder included. Ratios are torch's time over tlearn's: above 1 tlearn is faster.
Torch runs eagerly, as ``generate`` does by itself, with its growing cache.

    python experiments/bench/generation.py [--shape tiny small gpt2 t5-tiny t5-small]
        [--batch 1 8] [--method greedy sample beam] [--prompt 16] [--steps 64] [--threads 2]
        [--repeats 5] [--json PATH]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write

_GPT2 = {"n_positions": 512, "bos_token_id": 0, "eos_token_id": 0}
# The head is a table of its own, as in v1.1: one that shared the embedding's would make the token
# that was read last the likeliest one again, for ever.
_T5 = {"decoder_start_token_id": 0, "tie_word_embeddings": False}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _GPT2 | {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 5000},
    "small": _GPT2 | {"n_embd": 256, "n_layer": 4, "n_head": 4, "vocab_size": 10000},
    "gpt2": _GPT2 | {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
    "t5-tiny": _T5
    | {"d_model": 64, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 2}
    | {"vocab_size": 5000},
    "t5-small": _T5
    | {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    | {"vocab_size": 32128},
}
"""Configs of transformers, of GPT-2 and of T5."""
METHODS = {
    "greedy": ({}, {"do_sample": False, "num_beams": 1}),
    "sample": (
        {"temperature": 0.9, "top_k": 50, "top_p": 0.95},
        {"do_sample": True, "temperature": 0.9, "top_k": 50, "top_p": 0.95},
    ),
    "beam": ({"beams": 4}, {"do_sample": False, "num_beams": 4}),
}
Call = Callable[[], Any]


def both(shape: str, threads: int) -> tuple[Any, Any, Any]:
    """Torch's model, and ours with its parameters, of the same weights."""
    import jax.numpy as jnp
    import torch  # noqa: TID251 - the peer
    import transformers

    from tlearn import Model, bodies, heads, hub

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if shape.startswith("t5"):
        config = transformers.T5Config(**SHAPES[shape])
        theirs: Any = transformers.T5ForConditionalGeneration(config).eval()
        # Some versions of transformers tie it all the same.
        theirs.lm_head.weight = torch.nn.Parameter(torch.randn_like(theirs.lm_head.weight))
    else:
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SHAPES[shape])).eval()
        with torch.no_grad():
            for parameter in theirs.parameters():
                if parameter.ndim > 1:
                    # Far enough from nothing that no two tokens are as good as equally likely.
                    parameter.mul_(5)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        source = hub.load(f"hf:{folder}")
        params = {path: jnp.asarray(value) for path, value in source.params.items()}
    model = Model(body=bodies.build(source.body), head=heads.build(dict(source.head or {})))
    return theirs, model, params


def sides(loaded: tuple[Any, Any, Any], method: str, tokens: Any, steps: int) -> dict[str, Call]:
    """A call of each side that makes texts, and gives their tokens."""
    import jax
    import numpy as np
    import torch  # noqa: TID251 - the peer

    from tlearn.generation import Options, generate

    theirs, model, params = loaded
    options = Options(method=method, steps=steps, **METHODS[method][0])
    segments = np.ones_like(tokens)
    given = 1 if theirs.config.is_encoder_decoder else tokens.shape[1]
    ids = torch.tensor(tokens, dtype=torch.long)

    def ours() -> Any:
        key = jax.random.key(0) if method == "sample" else None
        found = generate(model, params, tokens, segments, options, key=key)
        return np.asarray(found.tokens[:, 0])

    def torchs() -> Any:
        made = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=steps,
            eos_token_id=None,
            pad_token_id=0,
            **METHODS[method][1],
        )
        return made[:, given:].numpy()

    return {"tlearn": ours, "torch": torchs}


def compare(
    loaded: tuple[Any, Any, Any], shape: str, method: str, batch: int, args: argparse.Namespace
) -> dict[str, Any]:
    """One row."""
    import numpy as np

    vocabulary = SHAPES[shape]["vocab_size"]
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, vocabulary, (batch, args.prompt)).astype(np.int32)
    calls = sides(loaded, method, tokens, args.steps)
    made = {name: call() for name, call in calls.items()}
    same = float((made["tlearn"] == made["torch"]).all(1).mean())
    if method != "sample" and same < 1:
        print(f"  note: {same:.0%} of the texts are the same on both sides")
    # Texts that repeat one token would be the same on both sides whatever the cache held.
    different = float(np.mean([len(set(text)) for text in made["torch"].tolist()]))
    times = alternate(calls, args.repeats)
    count = batch * args.steps
    return {
        "shape": shape,
        "method": method,
        "batch": batch,
        "prompt": args.prompt,
        "steps": args.steps,
        "same_texts": None if method == "sample" else same,
        "different_tokens": different,
        "tokens_per_s": {name: 1e3 * count / median_ms(t) for name, t in times.items()},
        "cpu_ms": {name: median_ms(t, "cpu") for name, t in times.items()},
        "torch_over_tlearn": ratio(times["torch"], times["tlearn"], "wall"),
        "torch_over_tlearn_cpu": ratio(times["torch"], times["tlearn"], "cpu"),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["tiny", "small"], choices=list(SHAPES))
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    rows = []
    for shape in args.shape:
        loaded = both(shape, args.threads)
        for method in args.method:
            for batch in args.batch:
                row = compare(loaded, shape, method, batch, args)
                rows.append(row)
                speeds = ", ".join(f"{n} {v:.0f}" for n, v in row["tokens_per_s"].items())
                print(
                    f"{shape}, {method}, batch {batch}: tokens a second {speeds}; torch / tlearn "
                    f"{row['torch_over_tlearn']:.2f} (by CPU time "
                    f"{row['torch_over_tlearn_cpu']:.2f})",
                    flush=True,
                )
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats)


if __name__ == "__main__":
    main()
