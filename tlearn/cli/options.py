"""Options of a verb out of a dataclass: flat names, short help, clear refusals."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def read(
    kind: type[T], args: Sequence[str], *, verb: str, about: str, default: T | None = None
) -> T:
    """Reads a verb's options.

    Args:
        kind: The dataclass of its options; nested ones lose their prefix.
        args: What follows the verb.
        verb: Its name.
        about: What it does, a sentence.
        default: Values to start from.

    Raises:
        SystemExit: After printing help (0) or what is wrong with the options (2).
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        args=list(args),
        prog=f"tlearn {verb}",
        description=about,
        config=(tyro.conf.OmitArgPrefixes,),
        **given,
    )
