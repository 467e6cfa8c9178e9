"""The verb that hands a model on."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to write, how, where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or any source; one without a head becomes a base model."""
    out: str
    """Folder to write: absent or empty."""
    format: Literal["hf", "timm", "torch", "npz", "stablehlo"] = "hf"
    """For transformers, for timm, as PyTorch's names in a file, or the function as StableHLO."""
    platforms: tuple[Literal["cpu", "cuda", "rocm", "tpu"], ...] = ()
    """What StableHLO is lowered for; cpu if none is named. None of it need be here."""
    length: int = 0
    """Tokens of every text in StableHLO; 0 for any number, where that works."""


def export(args: Sequence[str]) -> int:
    """Writes a model for others to use."""
    o = read(ExportOptions, args, verb="export", about="Write a model for others to use.")
    if o.format != "stablehlo":
        wrong = [n for n, value in (("platforms", o.platforms), ("length", o.length)) if value]
        if wrong:
            given = " and ".join(f"--{name}" for name in wrong)
            raise Refused(f"{given} goes with --format stablehlo, not with {o.format}")
    if o.length < 0:
        raise Refused(f"length is {o.length}; it must be at least 0")
    from tlearn.runs.export import export as write

    folder = write(o.run, o.out, o.format, platforms=o.platforms or ("cpu",), length=o.length)
    held = sorted(path for path in folder.rglob("*") if path.is_file())
    width = max(len(str(path.relative_to(folder))) for path in held)
    for path in held:
        name = str(path.relative_to(folder)).ljust(width)
        sys.stdout.write(f"  {name}  {path.stat().st_size:,} bytes\n")
    sys.stdout.write(f"{folder}: {o.format}\n")
    return 0
