"""RoBERTa as Hugging Face writes it; XLM-RoBERTa and CamemBERT have the same form."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_family import Encoder, settings
from tlearn.hub.tables.encoder_heads import Form, Words
from tlearn.hub.tables.encoder_rows import bert_blocks, embeddings
from tlearn.hub.tables.encoder_write import folder_family

_WORDS = Words(
    dense="lm_head.dense", norm="lm_head.layer_norm", bias="lm_head.bias", decoder="lm_head.decoder"
)
_DROPOUT = ("classifier_dropout", "hidden_dropout_prob")


def _rows(prefix: str, body: Mapping[str, Any], old: bool) -> tuple[Row, ...]:
    return (*embeddings(prefix, body["types"], old), *bert_blocks(prefix, old))


FAMILY = folder_family(
    Encoder(
        name="hf_roberta",
        body="bert",
        classes={"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"},
        prefix="roberta.",
        settings=settings(),
        fixed={"embedding_width": 0},
        forms=(
            Form(
                ("ForSequenceClassification",),
                "mlp",
                "first",
                (("classifier.dense", "hidden_1"), ("classifier.out_proj", "dense")),
                dropout=_DROPOUT,
                activation="tanh",
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
        ),
        blocks=((r"encoder\.layer\.(\d+)\.", "depth"),),
        rows=_rows,
        pooler="pooler.dense",
        pad=1,
        offset=True,
    )
)
"""This table's entry."""
