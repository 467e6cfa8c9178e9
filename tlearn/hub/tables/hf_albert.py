"""ALBERT as Hugging Face writes it."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_family import Encoder, Setting, settings
from tlearn.hub.tables.encoder_heads import Form, Words
from tlearn.hub.tables.encoder_rows import affine, embeddings, norm
from tlearn.hub.tables.encoder_write import folder_family

_WORDS = Words(
    dense="predictions.dense",
    norm="predictions.LayerNorm",
    bias="predictions.bias",
    decoder="predictions.decoder",
)
_DROPOUT = ("classifier_dropout_prob",)


def _rows(prefix: str, body: Mapping[str, Any], old: bool) -> tuple[Row, ...]:
    there = f"{prefix}encoder.albert_layer_groups.{{group}}.albert_layers.{{inner}}"
    here = "body/group_{group}/block_{inner}"
    return (
        *embeddings(prefix, body["types"], old),
        *affine(f"{prefix}encoder.embedding_hidden_mapping_in", "body/embeddings/projection"),
        *(
            row
            for part in ("query", "key", "value")
            for row in affine(f"{there}.attention.{part}", f"{here}/attention/{part}")
        ),
        *affine(f"{there}.attention.dense", f"{here}/attention/output"),
        *norm(f"{there}.attention.LayerNorm", f"{here}/attention_norm", old),
        *affine(f"{there}.ffn", f"{here}/feed_forward/in"),
        *affine(f"{there}.ffn_output", f"{here}/feed_forward/out"),
        *norm(f"{there}.full_layer_layer_norm", f"{here}/feed_forward_norm"),
    )


FAMILY = folder_family(
    Encoder(
        name="hf_albert",
        body="albert",
        classes={"albert": "Albert"},
        prefix="albert.",
        settings=settings(
            Setting("vocab_size", "vocab_size", 30000, 1),
            Setting("embedding_size", "embedding_width", 128, 1),
            Setting("hidden_size", "width", 4096, 1),
            Setting("num_attention_heads", "heads", 64, 1),
            Setting("intermediate_size", "feed_forward", 16384, 1),
            Setting("num_hidden_groups", "groups", 1, 1),
            Setting("inner_group_num", "inner_blocks", 1, 1),
            Setting("hidden_act", "activation", "gelu_new"),
            Setting("hidden_dropout_prob", "dropout", 0.0),
            Setting("attention_probs_dropout_prob", "attention_dropout", 0.0),
        ),
        fixed={},
        forms=(
            Form(
                ("ForSequenceClassification",),
                "linear",
                "pooler",
                (("classifier", "dense"),),
                dropout=_DROPOUT,
            ),
            Form(
                ("ForTokenClassification",),
                "tagging",
                "sequence",
                (("classifier", "dense"),),
                dropout=_DROPOUT,
            ),
            Form(("ForQuestionAnswering",), "span", "sequence", (("qa_outputs", "dense"),)),
            Form(("ForMaskedLM",), "masked_lm", "sequence", words=_WORDS),
            Form(
                ("ForPreTraining",),
                "pretraining",
                "pooler",
                (("sop_classifier.classifier", "next_sentence"),),
                words=_WORDS,
                dropout=_DROPOUT,
            ),
        ),
        blocks=(
            (r"encoder\.albert_layer_groups\.(\d+)\.", "groups"),
            (r"encoder\.albert_layer_groups\.0\.albert_layers\.(\d+)\.", "inner_blocks"),
        ),
        rows=_rows,
        pooler="pooler",
    )
)
"""This table's entry."""
