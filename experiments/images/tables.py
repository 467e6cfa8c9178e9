"""Results on disk: figures with date, versions, seeds and command."""

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlearn.runs.versions import versions


def command(name: str) -> str:
    """What was typed, without the folders of this machine."""
    hidden = {"--data": "DIR", "--out": "experiments/results"}
    typed = sys.argv[1:]
    shown = [hidden.get(typed[at - 1], word) if at else word for at, word in enumerate(typed)]
    return " ".join([f"python experiments/images/{name}.py", *shown])


def save(
    out: Path, name: str, about: str | None, measured: Mapping[str, Any], *, seeds: Sequence[int]
) -> Path:
    """Prints figures and writes them as JSON."""
    content = {
        "about": (about or "").split("\n\n    ")[0],
        "command": command(name),
        "date": datetime.date.today().isoformat(),
        "seeds": list(seeds),
        "versions": versions(),
        "measured": measured,
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(measured, indent=1))
    return path
