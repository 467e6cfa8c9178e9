"""DistilBERT as Hugging Face writes it."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_family import Encoder, Setting
from tlearn.hub.tables.encoder_heads import Form, Words
from tlearn.hub.tables.encoder_rows import affine, embeddings, norm
from tlearn.hub.tables.encoder_write import folder_family

_WORDS = Words(
    dense="vocab_transform",
    norm="vocab_layer_norm",
    bias="vocab_projector.bias",
    decoder="vocab_projector",
    decoder_bias=False,
)


def _rows(prefix: str, body: Mapping[str, Any], old: bool) -> tuple[Row, ...]:
    there, here = f"{prefix}transformer.layer.{{at}}", "body/block_{at}"
    return (
        *embeddings(prefix, body["types"], old),
        *affine(f"{there}.attention.q_lin", f"{here}/attention/query"),
        *affine(f"{there}.attention.k_lin", f"{here}/attention/key"),
        *affine(f"{there}.attention.v_lin", f"{here}/attention/value"),
        *affine(f"{there}.attention.out_lin", f"{here}/attention/output"),
        *norm(f"{there}.sa_layer_norm", f"{here}/attention_norm"),
        *affine(f"{there}.ffn.lin1", f"{here}/feed_forward/in"),
        *affine(f"{there}.ffn.lin2", f"{here}/feed_forward/out"),
        *norm(f"{there}.output_layer_norm", f"{here}/feed_forward_norm"),
    )


FAMILY = folder_family(
    Encoder(
        name="hf_distilbert",
        body="bert",
        classes={"distilbert": "DistilBert"},
        prefix="distilbert.",
        settings=(
            Setting("vocab_size", "vocab_size", 30522, 1),
            Setting("dim", "width", 768, 1),
            Setting("n_layers", "depth", 6, 1),
            Setting("n_heads", "heads", 12, 1),
            Setting("hidden_dim", "feed_forward", 3072, 1),
            Setting("max_position_embeddings", "positions", 512, 1),
            Setting("activation", "activation", "gelu"),
            Setting("dropout", "dropout", 0.1),
            Setting("attention_dropout", "attention_dropout", 0.1),
            Setting("initializer_range", "init_std", 0.02),
        ),
        # Its code knows no other epsilon, and has neither types nor a projection.
        fixed={"types": 0, "norm_epsilon": 1e-12, "embedding_width": 0, "position_offset": 0},
        forms=(
            Form(
                ("ForSequenceClassification",),
                "mlp",
                "first",
                (("pre_classifier", "hidden_1"), ("classifier", "dense")),
                dropout=("seq_classif_dropout",),
                default_dropout=0.2,
                activation="relu",
                fields={"drop_input": False},
            ),
            Form(
                ("ForTokenClassification",),
                "tagging",
                "sequence",
                (("classifier", "dense"),),
                dropout=("dropout",),
            ),
            Form(
                ("ForQuestionAnswering",),
                "span",
                "sequence",
                (("qa_outputs", "dense"),),
                dropout=("qa_dropout",),
            ),
            Form(("ForMaskedLM",), "masked_lm", "sequence", words=_WORDS),
        ),
        blocks=((r"transformer\.layer\.(\d+)\.", "depth"),),
        rows=_rows,
    )
)
"""This table's entry."""
