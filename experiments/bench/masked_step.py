"""Masked-language-model step of a small BERT beside transformers' BERT in torch: as ratios.

Both sides start from the same weights, predict the same masked tokens of the same rows and take the
same AdamW step; that is checked first, without dropout, over three steps. Then both run with
dropout 0.1 in this process, in turn, with the same allocator settings. Ratios are torch's time over
tlearn's: above 1 tlearn is faster. tlearn's step is the library's own, gradient norm and metrics
included; it scores the vocabulary at the masked places only. transformers' model scores it
everywhere; "torch, masked places" is the same model with its head called on those places only.

    python experiments/bench/masked_step.py [--shape bert-tiny bert-mini] [--batch 32]
        [--length 128] [--vocabulary 8000] [--threads 2] [--repeats 9] [--json PATH]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write
from text_step import peer_config

RATE, DROPOUT, MASKED = 1e-4, 0.1, 0.15
Batch = dict[str, Any]


def data(vocabulary: int, batch: int, length: int) -> Batch:
    """Random rows of full length with a seventh of their places masked, as many in each."""
    import numpy as np

    rng = np.random.default_rng(0)
    targets = rng.integers(5, vocabulary, (batch, length))
    count = max(1, round(MASKED * length))
    places = np.sort(np.argsort(rng.random((batch, length)), axis=1)[:, :count], axis=1)
    tokens = targets.copy()
    np.put_along_axis(tokens, places, 4, axis=1)
    return {
        "tokens": tokens.astype(np.int32),
        "segments": np.ones((batch, length), np.int32),
        "types": np.zeros((batch, length), np.int32),
        "places": places.astype(np.int32),
        "targets": np.take_along_axis(targets, places, axis=1).astype(np.int32),
        "mask": np.ones(batch, np.float32),
        "index": np.arange(batch, dtype=np.int32),
    }


def network(shape: str, vocabulary: int, length: int, dropout: float) -> Any:
    """The model of a shape in transformers."""
    import torch  # noqa: TID251 - the peer
    import transformers

    from tlearn import bodies

    torch.manual_seed(0)
    config = peer_config(bodies.create(shape, vocab_size=vocabulary), dropout)
    config.max_position_embeddings = length
    return transformers.BertForMaskedLM(config).train()


def ours(peer: Any, given: Batch, dropout: float) -> Any:
    """The library's step as a call, from the weights of transformers' model."""
    import jax
    import jax.numpy as jnp

    from tlearn import Model, bodies, heads, hub
    from tlearn.objectives import MaskedTokens
    from tlearn.train.schedules import Constant
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe, compile_step, make_step
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    with tempfile.TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        source = hub.load(f"hf:{folder}")
        params = {path: jnp.asarray(value) for path, value in source.params.items()}
    rates = {"dropout": dropout, "attention_dropout": dropout}
    body = bodies.build({**source.body, **rates})
    model = Model(body, heads.build(dict(source.head or {})))
    batch = {name: jnp.asarray(value) for name, value in given.items()}
    optimizer = adamw(RATE, Constant())
    rows = plan(params, Strategy(weight_decay=0.0), layers=body.layer_names)
    state = init(rows, params, {}, optimizer, total=1000, key=jax.random.key(1))
    step = compile_step(make_step(model, rows, MaskedTokens(), Recipe(optimizer=optimizer)))
    holder = {"state": state}

    def run() -> float:
        holder["state"], log = step(holder["state"], batch, SourceWeights())
        jax.block_until_ready(holder["state"])
        return float(log["loss"]) / float(log["count"])

    return run


def theirs(peer: Any, given: Batch, *, everywhere: bool) -> Any:
    """The same in torch; with the head at every place, or at the masked ones."""
    import numpy as np
    import torch  # noqa: TID251 - the peer

    optimizer = torch.optim.AdamW(peer.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    tokens, places, targets = (
        torch.from_numpy(given[name].astype(np.int64)) for name in ("tokens", "places", "targets")
    )
    labels = torch.full_like(tokens, -100).scatter_(1, places, targets)
    seen = torch.ones_like(tokens)

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        if everywhere:
            loss = peer(input_ids=tokens, attention_mask=seen, labels=labels).loss
        else:
            hidden = peer.bert(input_ids=tokens, attention_mask=seen).last_hidden_state
            chosen = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
            logits = peer.cls(chosen)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


def check(shape: str) -> float:
    """Largest relative difference of three steps' losses without dropout; raises if it is large."""
    given = data(200, 4, 16)
    peer = network(shape, 200, 16, 0.0)
    mine = ours(peer, given, 0.0)
    other = theirs(peer, given, everywhere=True)
    losses = [(mine(), other()) for _ in range(3)]
    worst = max(abs(a - b) / b for a, b in losses)
    if abs(losses[0][0] - losses[0][1]) > 1e-5 * losses[0][1] or worst > 1e-3:
        raise SystemExit(f"the sides do not compute the same losses: {losses}")
    return worst


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["bert-tiny", "bert-mini"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    import torch  # noqa: TID251 - the peer

    torch.set_num_threads(args.threads)
    rows = []
    for shape in args.shape:
        print(f"{shape}: losses agree to {check(shape):.0e}", flush=True)
        given = data(args.vocabulary, args.batch, args.length)
        peers = [network(shape, args.vocabulary, args.length, DROPOUT) for _ in range(2)]
        sides = {
            "tlearn": ours(peers[0], given, DROPOUT),
            "torch": theirs(peers[0], given, everywhere=True),
            "torch, masked places": theirs(peers[1], given, everywhere=False),
        }
        times = alternate(sides, args.repeats)
        tokens = args.batch * args.length
        row = {
            "shape": shape,
            "batch": args.batch,
            "length": args.length,
            "ms": {name: median_ms(t) for name, t in times.items()},
            "tokens_per_second": {n: tokens / median_ms(t) * 1e3 for n, t in times.items()},
            "over_tlearn": {n: ratio(t, times["tlearn"], "wall") for n, t in times.items()},
            "over_tlearn_cpu": {n: ratio(t, times["tlearn"], "cpu") for n, t in times.items()},
        }
        rows.append(row)
        for name in sides:
            print(
                f"    {name}: {row['ms'][name]:.1f} ms, {row['tokens_per_second'][name]:.0f} "
                f"tokens/s, over tlearn {row['over_tlearn'][name]:.2f} (by CPU time "
                f"{row['over_tlearn_cpu'][name]:.2f})",
                flush=True,
            )
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats, dropout=DROPOUT)


if __name__ == "__main__":
    main()
