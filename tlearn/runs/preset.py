"""What a published recipe is: changes to a run's config, and where they are from."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe: changes to a run's config by field name.

    Attributes:
        name: What it is called.
        changes: Fields and values.
        citation: Where they are from.
        note: What the paper leaves open, or what we do otherwise; empty for nothing.
        planned: The published data as numbers, EXAMPLESxCLASSES or TOKENS: what `explain` counts
            with where no data is named; empty where the paper does not say.
    """

    name: str
    changes: dict[str, Any]
    citation: str
    note: str = ""
    planned: str = ""

    def __str__(self) -> str:
        fields = ", ".join(f"{field}={value!r}" for field, value in self.changes.items())
        return f"{self.name}: {fields} ({self.citation}){' ' + self.note if self.note else ''}"
