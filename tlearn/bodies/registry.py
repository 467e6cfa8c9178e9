"""Bodies by name and by config; imports a family only when it is built."""

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Registry:
    """Linen modules of one kind, described as JSON-able dictionaries and built from them.

    Attributes:
        kind: What is registered; named in errors.
        families: Family name to ``"module:attribute"`` of its class.
        variants: Well-known name to ``(family, "module:attribute" of a table of fields)``.
    """

    kind: str
    families: Mapping[str, str]
    variants: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """Lists every name `create` knows."""
        return tuple(sorted({*self.families, *self.variants}))

    def describe(self, module: Any) -> dict[str, Any]:
        """Writes a module as its family and all its fields, ready for JSON.

        Raises:
            ValueError: If the module belongs to no registered family.
        """
        family = getattr(module, "family", None)
        if family not in self.families:
            raise ValueError(
                f"{type(module).__name__} is no registered {self.kind}: its family is {family!r}, "
                f"registered are {sorted(self.families)}"
            )
        fields = {name: _to_json(getattr(module, name)) for name in _fields(type(module))}
        return {"family": family, **fields}

    def build(self, config: Mapping[str, Any]) -> Any:
        """Builds the module that `describe` wrote; fields not named keep their defaults.

        Raises:
            ValueError: If the family or a field is unknown, with the nearest valid names, or if the
                module refuses a value.
        """
        if "family" not in config:
            raise ValueError(
                f"a {self.kind} config needs the key 'family', one of {sorted(self.families)}; "
                f"got the keys {sorted(config)}"
            )
        family = config["family"]
        if family not in self.families:
            raise ValueError(_unknown(f"{self.kind} family", family, self.families))
        cls = _load(self.families[family])
        known = _fields(cls)
        values = {name: value for name, value in config.items() if name != "family"}
        problems = [
            _unknown(f"field of {self.kind} {family!r}", name, known)
            for name in values
            if name not in known
        ]
        missing = [name for name, required in known.items() if required and name not in values]
        problems += [f"{self.kind} {family!r} needs the field {name!r}" for name in missing]
        if problems:
            raise ValueError("; ".join(problems))
        return cls(**{name: _from_json(value) for name, value in values.items()})

    def create(self, name: str, **overrides: Any) -> Any:
        """Builds a module by its well-known name, with some fields changed.

        Raises:
            ValueError: If the name or a field is unknown, with the nearest valid ones.
        """
        if name in self.variants:
            family, table = self.variants[name]
            return self.build({"family": family, **_load(table)[name], **overrides})
        if name in self.families:
            return self.build({"family": name, **overrides})
        raise ValueError(_unknown(self.kind, name, self.names()))


def _load(spec: str) -> Any:
    module, _, attribute = spec.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _fields(cls: type) -> dict[str, bool]:
    """Names a module's own fields (not Linen's), and tells which have no default."""
    return {
        field.name: field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
        if field.init and field.name not in ("parent", "name")
    }


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_from_json(item) for item in value)
    return value


def _unknown(what: str, name: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"unknown {what} {name!r}{hint} (known: {', '.join(map(str, known))})"


_BERTS = (
    "bert-base",
    "bert-base-cased",
    "bert-large",
    "bert-large-cased",
    "bert-base-multilingual-cased",
    "bert-tiny",
    "bert-mini",
    "bert-small",
    "bert-medium",
    "distilbert-base",
    "distilbert-base-cased",
    "roberta-base",
    "roberta-large",
    "distilroberta-base",
    "electra-small",
    "electra-base",
    "electra-large",
    "minilm-l6",
    "minilm-l12",
)
_T5S = (
    *(f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")),
    *(f"t5-v1_1-{size}" for size in ("small", "base", "large", "xl", "xxl")),
    *(f"flan-t5-{size}" for size in ("small", "base", "large", "xl", "xxl")),
)
_GPTS = ("openai-gpt", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
_VITS = (
    "vit-tiny-patch16",
    "vit-small-patch16",
    "vit-small-patch32",
    "vit-base-patch16",
    "vit-base-patch32",
    "vit-large-patch14",
    "vit-large-patch16",
    "vit-large-patch32",
    "vit-huge-patch14",
    "deit-tiny",
    "deit-small",
    "deit-base",
    "deit-tiny-distilled",
    "deit-small-distilled",
    "deit-base-distilled",
)
_ALBERTS = ("albert-base", "albert-large", "albert-xlarge", "albert-xxlarge")
_AWD_LSTMS = ("awd-lstm", "awd-lstm-small")
_BITS = ("bit-r50x1", "bit-r50x3", "bit-r101x1", "bit-r101x3", "bit-r152x2", "bit-r152x4")
_RESNETS = (20, 32, 44, 56, 110, 18, 34, 50, 101, 152)

BODIES = Registry(
    kind="body",
    families={
        "convnet": "tlearn.bodies.convnet:ConvNet",
        "resnet": "tlearn.bodies.resnet:ResNet",
        "bit": "tlearn.bodies.bit:BiT",
        "mobilenet_v2": "tlearn.bodies.mobilenet_v2:MobileNetV2",
        "vit": "tlearn.bodies.vit:ViT",
        "word_vectors": "tlearn.bodies.word_vectors:WordVectors",
        "bert": "tlearn.bodies.bert:Bert",
        "albert": "tlearn.bodies.albert:Albert",
        "gpt": "tlearn.bodies.gpt:GPT",
        "t5": "tlearn.bodies.t5:T5",
        "awd_lstm": "tlearn.bodies.awd_lstm:AWDLSTM",
    },
    variants={
        **{f"resnet{depth}": ("resnet", "tlearn.bodies.resnet:VARIANTS") for depth in _RESNETS},
        **{name: ("bit", "tlearn.bodies.bit:VARIANTS") for name in _BITS},
        **{name: ("vit", "tlearn.bodies.vit:VARIANTS") for name in _VITS},
        **{name: ("bert", "tlearn.bodies.bert:VARIANTS") for name in _BERTS},
        **{name: ("albert", "tlearn.bodies.albert:VARIANTS") for name in _ALBERTS},
        **{name: ("gpt", "tlearn.bodies.gpt:VARIANTS") for name in _GPTS},
        **{name: ("t5", "tlearn.bodies.t5:VARIANTS") for name in _T5S},
        **{name: ("awd_lstm", "tlearn.bodies.awd_lstm:VARIANTS") for name in _AWD_LSTMS},
    },
)


def describe(body: Any) -> dict[str, Any]:
    """Writes a body as ``{"family": ..., fields}``, ready for JSON; `build` is its inverse."""
    return BODIES.describe(body)


def build(config: Mapping[str, Any]) -> Any:
    """Builds the body a config describes.

    Raises:
        ValueError: If the family or a field is unknown, with the nearest valid names.
    """
    return BODIES.build(config)


def create(name: str, **overrides: Any) -> Any:
    """Builds a body by name, such as ``create("resnet20", drop_path=0.1)``.

    Raises:
        ValueError: If the name or a field is unknown, with the nearest valid names.
    """
    return BODIES.create(name, **overrides)


def names() -> tuple[str, ...]:
    """Lists the names `create` knows."""
    return BODIES.names()
