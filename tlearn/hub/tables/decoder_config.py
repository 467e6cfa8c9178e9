"""Reads and writes the ``config.json`` of generating models: values checked, problems gathered."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.tables.folder_family import Described, Shapes
from tlearn.params import nearest

_LARGEST = 2**30
_SPECIAL = ("bos", "eos", "unk", "sep", "cls", "mask")


class Reader:
    """A config from outside, read value by value.

    Attributes:
        config: The content of config.json.
        problems: What is wrong with it, so far.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.problems: list[str] = []

    def whole(self, key: str, default: int, least: int = 1) -> int:
        """Reads a whole number."""
        value = self.config.get(key, default)
        if type(value) is int and least <= value <= _LARGEST:
            return value
        self.problems.append(
            f"{key} must be a whole number of at least {least}, got {quoted(value)}"
        )
        return default

    def number(self, key: str, default: float) -> float:
        """Reads a number of at least 0."""
        value = self.config.get(key, default)
        if type(value) in (int, float) and 0 <= value <= _LARGEST:
            return float(value)
        self.problems.append(f"{key} must be a number of at least 0, got {quoted(value)}")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """Reads true or false; null is the default."""
        value = self.config.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problems.append(f"{key} must be true or false, got {quoted(value)}")
        return default

    def activation(self, key: str, value: Any, known: Mapping[str, Any] = ACTIVATIONS) -> Any:
        """Checks the name of an activation."""
        if isinstance(value, str) and value in known:
            return value
        close = nearest(str(value)[:80], known, 1)
        hint = f"; nearest: {close[0]!r}" if close else ""
        self.problems.append(
            f"{key}={quoted(value)} is no activation known here{hint} (known: {', '.join(known)})"
        )
        return next(iter(known))

    def refuse(self, wanted: Mapping[str, tuple[Any, str]]) -> None:
        """Refuses values that change what is computed: key to (what it must be, why)."""
        self.problems += [
            f"{key}={quoted(self.config[key])} is not supported: {reason}"
            for key, (value, reason) in wanted.items()
            if self.config.get(key) not in (value, None)
        ]

    def architectures(self, refused: Mapping[str, str]) -> str:
        """Reads the class's name, or gives an empty text; refuses classes by their endings."""
        found = self.config.get("architectures") or [""]
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            self.problems.append("architectures must be a list of class names")
            return ""
        self.problems += [
            f"the class {quoted(name)} is not supported: {reason}"
            for name in found
            for ending, reason in refused.items()
            if name.endswith(ending)
        ]
        return found[0]

    def count(self, pattern: str, shapes: Shapes, key: str, said: int) -> None:
        """Holds a number of blocks against the numbers in the names."""
        expression = re.compile(pattern)
        found = {int(match[1]) for name in shapes if (match := expression.match(name))}
        # Sizes first: a config may claim a number whose list would fill the memory.
        if len(found) != said or (found and max(found) != said - 1):
            self.problems.append(
                f"the config says {key}={said}, but the names count {sorted(found)[:40] or 'none'}"
            )

    def labels(self, classes: int) -> tuple[str, ...] | None:
        """Reads the labels' names; names that only count are none."""
        found = self.config.get("id2label")
        if found is None:
            return None
        numbers = {str(k): name for k, name in found.items()} if isinstance(found, dict) else {}
        wanted = [str(i) for i in range(classes)]
        texts = all(isinstance(name, str) for name in numbers.values())
        if sorted(numbers) != sorted(wanted) or not texts:
            self.problems.append(
                f"id2label must name the {classes} outputs of the head, from '0', got the keys "
                f"{quoted(', '.join(sorted(numbers)[:20]))}"
            )
            return None
        names = tuple(numbers[i] for i in wanted)
        if all(name == f"LABEL_{i}" for i, name in enumerate(names)):
            return None
        if len(set(names)) < len(names):
            self.problems.append(f"id2label gives two outputs the same name: {quoted(names[0])}")
            return None
        return names

    def facts(self, vocab_size: int, max_length: int | None) -> TextFacts | None:
        """Reads the special tokens."""
        special = []
        for name in _SPECIAL:
            value = self.config.get(f"{name}_token_id")
            if isinstance(value, list) and value:
                value = value[0]
            if type(value) is int:
                special.append((name, value))
        pad = self.config.get("pad_token_id")
        try:
            return TextFacts(
                vocab_size=vocab_size,
                max_length=max_length,
                pad=pad if type(pad) is int else None,
                special=tuple(special),
            )
        except ValueError as error:
            self.problems.append(str(error))
            return None

    def close(self, name: str) -> None:
        """Ends the reading.

        Raises:
            HubError: If there were problems, naming all.
        """
        if self.problems:
            raise HubError(
                f"this folder does not describe one {name} model:\n{listed(self.problems)}"
            )


def words_config(described: Described, pad: int | None) -> dict[str, Any]:
    """Writes special tokens and label names.

    Args:
        described: The model.
        pad: The padding token where the facts don't say.
    """
    facts, head = described.facts, described.head
    written: dict[str, Any] = {"pad_token_id": pad}
    if isinstance(facts, TextFacts):
        written["pad_token_id"] = facts.pad
        written |= {f"{name}_token_id": number for name, number in facts.special}
        # What a class would fill in by itself is said to be absent.
        written |= {f"{n}_token_id": None for n in ("bos", "eos") if facts.token(n) is None}
    eos = described.extra.get("eos_token_ids")
    if eos:
        written["eos_token_id"] = list(eos)
    if head is not None and "classes" in head:
        names = described.label_names or tuple(f"LABEL_{i}" for i in range(head["classes"]))
        written["id2label"] = {str(i): name for i, name in enumerate(names)}
        written["label2id"] = {name: i for i, name in enumerate(names)}
    for key in ("problem_type",):
        if key in described.extra:
            written[key] = described.extra[key]
    return written


def kept_extra(config: Mapping[str, Any], keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keeps what export needs beside body, head and facts."""
    extra = {key: config[key] for key in ("problem_type", *keys) if config.get(key) is not None}
    eos = config.get("eos_token_id")
    if isinstance(eos, list) and all(type(number) is int for number in eos):
        extra["eos_token_ids"] = list(eos)
    return extra
