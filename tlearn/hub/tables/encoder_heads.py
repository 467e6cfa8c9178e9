"""Heads of encoder checkpoints: which one is there, its config, its rows, its foreign class.

Which head a checkpoint has is told by its names; the config's ``architectures`` decides only where
two heads have the same names.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.hub.errors import HubError, quoted
from tlearn.hub.mapping import Row
from tlearn.hub.tables.encoder_rows import affine, norm, tied_decoder

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Words:
    """Names of a masked language head.

    Attributes:
        dense: Of its transformation's affine map.
        norm: Of its transformation's normalisation.
        bias: Of its bias, in full.
        decoder: Of its output matrix.
        decoder_bias: Whether the matrix has a second name for the bias.
    """

    dense: str
    norm: str
    bias: str
    decoder: str
    decoder_bias: bool = True


@dataclasses.dataclass(frozen=True)
class Form:
    """One head that a family of checkpoints can have.

    Attributes:
        suffixes: Ends of the classes that have it (``ForMaskedLM``); the first is written.
        family: Our head family.
        reads: What it reads of the body: ``pooler``, ``first`` (token) or ``sequence``.
        parts: Its affine maps: (name there, name here); the last gives the number of outputs.
        words: Its masked language part.
        dropout: Config keys of its dropout: the first that is there counts.
        default_dropout: What a config without these keys means.
        activation: Its activation; empty for the body's own.
        fields: Further fields of our head.
    """

    suffixes: tuple[str, ...]
    family: str
    reads: str
    parts: tuple[tuple[str, str], ...] = ()
    words: Words | None = None
    dropout: tuple[str, ...] = ()
    default_dropout: float = 0.1
    activation: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def signature(self) -> tuple[str, ...]:
        """Names that every checkpoint with this head has."""
        names = tuple(f"{there}.weight" for there, _ in self.parts)
        return (*names, f"{self.words.dense}.weight") if self.words else names

    def outputs(self, shapes: Shapes) -> int:
        """How many outputs the last affine map has."""
        return shapes[f"{self.parts[-1][0]}.weight"][0]

    def labelled(self) -> bool:
        """Whether its outputs are labels."""
        return self.family in ("linear", "mlp", "tagging") and "classes" not in self.fields


def find(forms: Sequence[Form], shapes: Shapes, architectures: Sequence[str]) -> Form | None:
    """Finds the head whose names are there.

    Raises:
        HubError: If two heads have these names and the config doesn't say which it is.
    """
    fitting = [form for form in forms if all(name in shapes for name in form.signature)]
    most = max((len(form.signature) for form in fitting), default=0)
    fitting = [form for form in fitting if len(form.signature) == most]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    named = [f for f in fitting if any(a.endswith(s) for a in architectures for s in f.suffixes)]
    if len(named) == 1:
        return named[0]
    ends = [form.suffixes[0] for form in fitting]
    raise HubError(
        f"{fitting[0].signature[-1]!r} may belong to any of {ends}, and the config's architectures "
        f"{[quoted(a) for a in architectures]} don't decide: name one class there"
    )


def head_config(
    form: Form, config: Mapping[str, Any], body: Mapping[str, Any], shapes: Shapes
) -> dict[str, Any]:
    """Builds the config of our head.

    Raises:
        HubError: If the outputs are not as many as the head must have.
    """
    head: dict[str, Any] = {"family": form.family}
    if form.labelled():
        head["classes"] = form.outputs(shapes)
    if form.family == "mlp":
        head["hidden"] = tuple(shapes[f"{there}.weight"][0] for there, _ in form.parts[:-1])
    if form.family in ("mlp", "replaced_token", "masked_lm", "pretraining"):
        head["activation"] = form.activation or body["activation"]
    if form.words is not None:
        head["norm_epsilon"] = body["norm_epsilon"]
        head["tied"] = bool(config.get("tie_word_embeddings", True))
    if form.dropout:
        values = [config[key] for key in form.dropout if config.get(key) is not None]
        head["dropout"] = float(values[0] if values else form.default_dropout)
    head.update(form.fields)
    wanted = {"span": 2, "pretraining": 2, "replaced_token": 1}.get(form.family)
    wanted = head["classes"] if "classes" in form.fields else wanted
    if wanted is not None and form.outputs(shapes) != wanted:
        raise HubError(
            f"{form.parts[-1][0]!r} has {form.outputs(shapes)} outputs, but {wanted} are wanted"
        )
    return head


def head_rows(
    form: Form, head: Mapping[str, Any], table: str, old: bool, decoder_bias: bool
) -> tuple[Row, ...]:
    """Writes a head's rows.

    Args:
        form: The head.
        head: Its config.
        table: Foreign name of the token embedding.
        old: Whether normalisations are named gamma and beta.
        decoder_bias: Whether an untied head's bias goes by its output matrix's name.
    """
    rows = [row for there, here in form.parts for row in affine(there, f"head/{here}")]
    words = form.words
    if words is None:
        return tuple(rows)
    root = "head/masked_lm" if form.family == "pretraining" else "head"
    rows += affine(words.dense, f"{root}/transform/dense")
    rows += norm(words.norm, f"{root}/transform/norm", old and words.norm.endswith("LayerNorm"))
    second = f"{words.decoder}.bias" if words.decoder_bias else ""
    own = Row(words.bias, f"params/{root}/bias", "vector")
    if head["tied"]:
        return (*rows, own, *tied_decoder(f"{words.decoder}.weight", second, table, words.bias))
    rows.append(Row(f"{words.decoder}.weight", f"params/{root}/decoder/kernel", "linear"))
    if not (second and decoder_bias):
        return (*rows, own)
    unread = "an untied head adds the bias of its output matrix, not this one"
    return (
        *rows,
        Row(second, f"params/{root}/bias", "vector"),
        Row(words.bias, "", "drop", unread),
    )


def form_of(
    forms: Sequence[Form],
    head: Mapping[str, Any],
    body: Mapping[str, Any],
    architecture: str,
    named_outputs: bool = False,
) -> Form:
    """Finds the foreign head that computes what ours does.

    Args:
        forms: The family's heads.
        head: Config of our head.
        body: Config of our body.
        architecture: The foreign class, where several have such a head.
        named_outputs: Whether the outputs have names of their own: then it is none of the heads
            whose outputs mean always the same.

    Raises:
        HubError: If there is none, saying what comes nearest.
    """
    alike = [form for form in forms if form.family == head["family"]]
    fitting = [form for form in alike if not _misfits(form, head, body)]
    if named_outputs:
        fitting = [form for form in fitting if "classes" not in form.fields]
    named = [f for f in fitting if any(architecture.endswith(s) for s in f.suffixes)]
    # A form with a fixed number of outputs (sentence order) is meant only where it is named.
    plain = [form for form in fitting if "classes" not in form.fields]
    for choice in (named, plain, fitting):
        if choice:
            return choice[0]
    if not alike:
        have = sorted({form.family for form in forms})
        raise HubError(f"the head {head['family']!r} has no class there; these have: {have}")
    raise HubError("; ".join(_misfits(alike[0], head, body)))


def _misfits(form: Form, head: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    name, problems = form.suffixes[0], []
    if form.reads != "sequence" and body["pooling"] != form.reads:
        problems.append(f"{name} reads pooling={form.reads!r}, the body has {body['pooling']!r}")
    if form.family in ("mlp", "replaced_token", "masked_lm", "pretraining"):
        wanted = form.activation or body["activation"]
        if head.get("activation", "relu") != wanted:
            problems.append(f"{name} has the activation {wanted!r}, not {head.get('activation')!r}")
    if form.family == "mlp" and tuple(head["hidden"]) != (body["width"],):
        problems.append(f"{name} has one hidden layer of {body['width']}, not {head['hidden']}")
    if form.words is not None and head.get("norm_epsilon") != body["norm_epsilon"]:
        problems.append(f"{name} has the body's norm_epsilon {body['norm_epsilon']}")
    if head.get("use_bias", True) is False:
        problems.append(f"{name} has a bias, this head has none")
    if "classes" in form.fields and head.get("classes") != form.fields["classes"]:
        problems.append(f"{name} has {form.fields['classes']} outputs, not {head.get('classes')}")
    return problems
