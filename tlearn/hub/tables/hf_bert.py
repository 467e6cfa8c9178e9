"""BERT as Hugging Face writes it; MiniLM, Turc's small BERTs and sentence encoders are the same."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_family import Encoder, settings
from tlearn.hub.tables.encoder_heads import Form, Words
from tlearn.hub.tables.encoder_rows import bert_blocks, embeddings
from tlearn.hub.tables.encoder_write import folder_family

_WORDS = Words(
    dense="cls.predictions.transform.dense",
    norm="cls.predictions.transform.LayerNorm",
    bias="cls.predictions.bias",
    decoder="cls.predictions.decoder",
)
_DROPOUT = ("classifier_dropout", "hidden_dropout_prob")


def _rows(prefix: str, body: Mapping[str, Any], old: bool) -> tuple[Row, ...]:
    return (*embeddings(prefix, body["types"], old), *bert_blocks(prefix, old))


FAMILY = folder_family(
    Encoder(
        name="hf_bert",
        body="bert",
        classes={"bert": "Bert"},
        prefix="bert.",
        settings=settings(),
        fixed={"embedding_width": 0, "position_offset": 0},
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
                (("cls.seq_relationship", "next_sentence"),),
                words=_WORDS,
            ),
            Form(
                ("ForNextSentencePrediction",),
                "linear",
                "pooler",
                (("cls.seq_relationship", "dense"),),
                fields={"classes": 2},
            ),
        ),
        blocks=((r"encoder\.layer\.(\d+)\.", "depth"),),
        rows=_rows,
        pooler="pooler.dense",
    )
)
"""This table's entry."""
