"""Keeps a study's report as text: its Markdown and its table of runs, without paths of a machine.

Pictures are left out. Folders that environment variables or packages name are written as these
names: $TLEARN_DATA, $TLEARN_TEXT_RUN, $TLEARN_SHIFTED, $MINILM, $OUT.

    python experiments/studies/keep.py DIR... --out experiments/results/studies

DIR are folders that ``tlearn study FILE --out DIR`` made.
"""

import argparse
import contextlib
import json
import os
import re
from pathlib import Path

import bases

VARIABLES = ("TLEARN_DATA", "TLEARN_TEXT_RUN", "TLEARN_SHIFTED")


def places(folder: Path) -> dict[str, str]:
    """What stands for which path, the longest path first."""
    found = {os.environ[name]: f"${name}" for name in VARIABLES if os.environ.get(name)}
    with contextlib.suppress(ValueError):  # Then no study has started from it here.
        found[bases.minilm().removeprefix("hf:")] = "$MINILM"
    found[str(folder)] = "$OUT"
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def told(text: str, names: dict[str, str]) -> str:
    """The text with names for paths.

    Raises:
        ValueError: If a path of this machine is left.
    """
    for path, name in names.items():
        text = text.replace(path, name)
    left = sorted(set(re.findall(r"(?:^|[\s:'\"=])(/(?:[\w.-]+/)+[\w.-]*)", text)))
    if left:
        raise ValueError(f"these paths are of this machine: {', '.join(left)}; name them")
    return text


def main() -> None:
    """Copies every report that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/studies"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for given in asked.folders:
        folder = given.absolute()
        name = json.loads((folder / "study.json").read_text())["study"]["name"]
        names = places(folder)
        report = (folder / "report" / "report.md").read_text()
        report = re.sub(r"^!\[.*\]\(plots/.*\)\n\n?", "", report, flags=re.MULTILINE)
        # A heading that only had pictures below it has nothing to say.
        report = re.sub(r"^## [^\n]+\n+(?=## )", "", report, flags=re.MULTILINE)
        (asked.out / f"{name}.md").write_text(told(report, names))
        table = (folder / "report" / "results.csv").read_text()
        (asked.out / f"{name}.csv").write_text(told(table, names))


if __name__ == "__main__":
    main()
