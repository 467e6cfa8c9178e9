"""A family of encoder folders as data: keys, fields, names, heads."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_heads import Form


@dataclasses.dataclass(frozen=True)
class Setting:
    """One key of the config and the field of our body that means the same.

    Attributes:
        key: There.
        field: Here.
        default: What a config without the key means; its type is the value's type.
        least: The smallest value; only for numbers.
    """

    key: str
    field: str
    default: int | float | str
    least: int = 0


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One family of encoder folders.

    Attributes:
        name: The table's name.
        body: Our body's family.
        classes: How class names begin, by ``model_type``; the first is the usual one.
        prefix: What stands before the body's names in a checkpoint with a head.
        settings: The keys that are fields.
        fixed: Fields that this family leaves no choice.
        forms: Its heads.
        blocks: Patterns whose group counts something, and the field that says how many there are.
        rows: Rows of the body without its pooler: (prefix, body config, old names) to rows.
        pooler: Name of the pooler's affine map; empty if the family has none.
        pad: The padding token of a config that doesn't say.
        offset: Whether positions begin after the padding token's number.
    """

    name: str
    body: str
    classes: Mapping[str, str]
    prefix: str
    settings: tuple[Setting, ...]
    fixed: Mapping[str, Any]
    forms: tuple[Form, ...]
    blocks: tuple[tuple[str, str], ...]
    rows: Callable[[str, Mapping[str, Any], bool], tuple[Row, ...]]
    pooler: str = ""
    pad: int = 0
    offset: bool = False


BERT_SETTINGS = (
    Setting("vocab_size", "vocab_size", 30522, 1),
    Setting("hidden_size", "width", 768, 1),
    Setting("num_hidden_layers", "depth", 12, 1),
    Setting("num_attention_heads", "heads", 12, 1),
    Setting("intermediate_size", "feed_forward", 3072, 1),
    Setting("max_position_embeddings", "positions", 512, 1),
    Setting("type_vocab_size", "types", 2, 1),
    Setting("hidden_act", "activation", "gelu"),
    Setting("layer_norm_eps", "norm_epsilon", 1e-12),
    Setting("hidden_dropout_prob", "dropout", 0.1),
    Setting("attention_probs_dropout_prob", "attention_dropout", 0.1),
    Setting("initializer_range", "init_std", 0.02),
)
"""What BERT's kin call their sizes, with the values that a config leaves out."""


def settings(*changed: Setting) -> tuple[Setting, ...]:
    """Takes `BERT_SETTINGS` with some replaced, by key, and further ones added."""
    by_key = {setting.key: setting for setting in BERT_SETTINGS}
    by_key.update({setting.key: setting for setting in changed})
    return tuple(by_key.values())
