"""The verb that makes texts."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read
from tlearn.cli.use import lines_of, note

_STOPPING: dict[str, bool | str] = {"no": False, "full": True, "never": "never"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What to make texts with, from what, and how."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|SOURCE")]
    """A run's folder, or a source with a head of next tokens."""
    text: tuple[str, ...] = ()
    """Texts to go on from (a backward model writes what comes before them); what an
    encoder-decoder reads. An empty one begins a new text."""
    lines: str = ""
    """A file with a text a line; - for what is piped in."""
    out: str = ""
    """File to write to, a JSON object a line; by default texts are shown."""
    method: Literal["greedy", "sample", "beam"] = "greedy"
    """The likeliest next token; one drawn; or the likeliest texts carried on together."""
    steps: int = 50
    """The most tokens to make."""
    returned: int = 1
    """Texts to make of each one given."""
    seed: int = 0
    """Of the draws."""
    temperature: float = 1.0
    """Of draws: scores are divided by it."""
    top_k: int = 0
    """Draw among so many likeliest tokens; 0 for all."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that reach this share of probability."""
    beams: int = 4
    """Texts that a beam search carries on at a time."""
    length_penalty: float = 1.0
    """Of a beam search: above 0 favours long texts."""
    early_stopping: Literal["no", "full", "never"] = "no"
    """Whether a beam search stops once as many texts as beams have ended, or never too early."""
    min_steps: int = 0
    """The fewest tokens to make."""
    repetition_penalty: float = 1.0
    """Above 1 holds against tokens that they are there already."""
    no_repeat_ngram: int = 0
    """So many tokens in a row occur only once; 0 for no such rule."""
    batch_size: int = 8
    """Texts given at a time."""


def generate(args: Sequence[str]) -> int:
    """Makes texts with a run or a source."""
    o = read(GenerateOptions, args, verb="generate", about="Make texts with a run or a source.")
    given = [*o.text, *(lines_of(o.lines) if o.lines else ())]
    if not given:
        raise Refused('generate needs texts: tlearn generate RUN --text "Once upon", or --lines')
    from tlearn.generation import Options
    from tlearn.runs.generating import generate as make

    names = {field.name for field in dataclasses.fields(Options)}
    chosen = {name: value for name, value in vars(o).items() if name in names}
    chosen["early_stopping"] = _STOPPING[o.early_stopping]
    options = Options(**chosen)
    if problems := options.problems():
        raise Refused("; ".join(problems))
    found = make(o.source, given, options, seed=o.seed, batch_size=o.batch_size, say=note)
    if not o.out:
        for number, made in enumerate(found):
            # Texts may have several lines: an empty one parts them.
            sys.stdout.write(("\n" if number else "") + made.whole + "\n")
            sys.stdout.flush()
        return 0
    path = Path(o.out).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for made in found:
            file.write(json.dumps(dataclasses.asdict(made), ensure_ascii=False) + "\n")
            count += 1
    sys.stdout.write(f"{path}: {count} texts\n")
    return 0
