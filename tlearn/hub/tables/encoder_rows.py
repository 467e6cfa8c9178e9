"""Rows that the encoders' tables share: affine maps, normalisations, blocks, what is dropped."""

from collections.abc import Sequence

from tlearn.hub.mapping import Row

_BUFFER = "a constant buffer: it counts positions or holds zeros"


def affine(source: str, target: str) -> tuple[Row, Row]:
    """Writes the rows of one torch Linear."""
    return (
        Row(f"{source}.weight", f"params/{target}/kernel", "linear"),
        Row(f"{source}.bias", f"params/{target}/bias", "vector"),
    )


def norm(source: str, target: str, old: bool = False) -> tuple[Row, Row]:
    """Writes the rows of one LayerNorm; ``old`` files say gamma and beta, as TensorFlow did."""
    scale, bias = ("gamma", "beta") if old else ("weight", "bias")
    return (
        Row(f"{source}.{scale}", f"params/{target}/scale", "vector"),
        Row(f"{source}.{bias}", f"params/{target}/bias", "vector"),
    )


def embeddings(prefix: str, types: int, old: bool) -> tuple[Row, ...]:
    """Writes the rows of an embedding layer of tokens, positions, and types if there are any."""
    kinds = [("word_embeddings", "tokens"), ("position_embeddings", "positions")]
    if types:
        kinds.append(("token_type_embeddings", "types"))
    return (
        *(
            Row(f"{prefix}embeddings.{there}.weight", f"params/body/embeddings/{here}/embedding")
            for there, here in kinds
        ),
        *norm(f"{prefix}embeddings.LayerNorm", "body/embeddings/norm", old),
        Row(f"{prefix}embeddings.position_ids", "", "drop", _BUFFER),
        Row(f"{prefix}embeddings.token_type_ids", "", "drop", _BUFFER),
    )


def bert_blocks(prefix: str, old: bool) -> tuple[Row, ...]:
    """Writes the rows of all blocks named as BERT names them; the field ``at`` counts them."""
    there, here = f"{prefix}encoder.layer.{{at}}", "body/block_{at}"
    return (
        *(
            row
            for part in ("query", "key", "value")
            for row in affine(f"{there}.attention.self.{part}", f"{here}/attention/{part}")
        ),
        *affine(f"{there}.attention.output.dense", f"{here}/attention/output"),
        *norm(f"{there}.attention.output.LayerNorm", f"{here}/attention_norm", old),
        *affine(f"{there}.intermediate.dense", f"{here}/feed_forward/in"),
        *affine(f"{there}.output.dense", f"{here}/feed_forward/out"),
        *norm(f"{there}.output.LayerNorm", f"{here}/feed_forward_norm", old),
    )


def pooler(source: str, pooling: str) -> tuple[Row, ...]:
    """Writes the rows of a pooler; a body that pools in another way leaves it behind."""
    if pooling == "pooler":
        return affine(source, "body/pooler/dense")
    reason = f"the body pools by {pooling!r}: nothing reads the pooler"
    return tuple(Row(f"{source}.{part}", "", "drop", reason) for part in ("weight", "bias"))


def counted(depth: int) -> tuple[tuple[str, str], ...]:
    """Spells the numbers of ``depth`` blocks there and here."""
    return tuple((str(i), f"{i:02d}") for i in range(depth))


def tied_decoder(weight: str, bias: str, table: str, own_bias: str) -> Sequence[Row]:
    """Drops the copies of a tied language head: its matrix and, where there is one, its bias."""
    rows = [Row(weight, "", "drop", "the token embedding, once more", tied=table)]
    if bias:
        rows.append(Row(bias, "", "drop", "the head's bias, once more", tied=own_bias))
    return rows
