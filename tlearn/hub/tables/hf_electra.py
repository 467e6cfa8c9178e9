"""ELECTRA as Hugging Face writes it, discriminators and generators."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_family import Encoder, Setting, settings
from tlearn.hub.tables.encoder_heads import Form, Words
from tlearn.hub.tables.encoder_rows import affine, bert_blocks, embeddings
from tlearn.hub.tables.encoder_write import folder_family

_WORDS = Words(
    dense="generator_predictions.dense",
    norm="generator_predictions.LayerNorm",
    bias="generator_lm_head.bias",
    decoder="generator_lm_head",
    decoder_bias=False,
)
_DROPOUT = ("classifier_dropout", "hidden_dropout_prob")


def _rows(prefix: str, body: Mapping[str, Any], old: bool) -> tuple[Row, ...]:
    rows = (*embeddings(prefix, body["types"], old), *bert_blocks(prefix, old))
    if body["embedding_width"] in (0, body["width"]):
        return rows
    return (*rows, *affine(f"{prefix}embeddings_project", "body/embeddings/projection"))


FAMILY = folder_family(
    Encoder(
        name="hf_electra",
        body="bert",
        classes={"electra": "Electra"},
        prefix="electra.",
        settings=settings(
            Setting("embedding_size", "embedding_width", 128),
            Setting("hidden_size", "width", 256, 1),
            Setting("num_attention_heads", "heads", 4, 1),
            Setting("intermediate_size", "feed_forward", 1024, 1),
        ),
        fixed={"position_offset": 0},
        forms=(
            Form(
                ("ForSequenceClassification",),
                "mlp",
                "first",
                (("classifier.dense", "hidden_1"), ("classifier.out_proj", "dense")),
                dropout=_DROPOUT,
                activation="gelu",
            ),
            Form(
                ("ForTokenClassification",),
                "tagging",
                "sequence",
                (("classifier", "dense"),),
                dropout=_DROPOUT,
            ),
            Form(("ForQuestionAnswering",), "span", "sequence", (("qa_outputs", "dense"),)),
            Form(("ForMaskedLM",), "masked_lm", "sequence", words=_WORDS, activation="gelu"),
            Form(
                ("ForPreTraining",),
                "replaced_token",
                "sequence",
                (
                    ("discriminator_predictions.dense", "hidden"),
                    ("discriminator_predictions.dense_prediction", "dense"),
                ),
            ),
        ),
        blocks=((r"encoder\.layer\.(\d+)\.", "depth"),),
        rows=_rows,
    )
)
"""This table's entry."""
