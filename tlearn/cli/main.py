"""The command line: verbs, their options, and errors without tracebacks."""

import dataclasses
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from tlearn.params.paths import nearest

VERBS = {
    "quickstart": (
        "tlearn.cli.quickstart:main",
        "pre-train on digits 0-4, carry over to 5-9, report",
    ),
    "pretrain": ("tlearn.cli.train:pretrain", "train a body and a head from nothing"),
    "adapt": ("tlearn.cli.train:adapt", "go on with a source's objective on texts of your own"),
    "finetune": ("tlearn.cli.train:finetune", "transfer a source to a task, or resume a run"),
    "pipeline": ("tlearn.cli.pipeline:pipeline", "run stages: pre-train, adapt, fine-tune"),
    "study": ("tlearn.cli.study:study", "compare strategies over seeds, report what is shown"),
    "evaluate": ("tlearn.cli.use:evaluate", "score a run on a data set"),
    "predict": ("tlearn.cli.use:predict", "label pictures or texts with a run"),
    "vectors": ("tlearn.cli.vectors:vectors", "train word vectors on a corpus"),
    "generate": ("tlearn.cli.generate:generate", "make texts with a run or a source"),
    "extract": ("tlearn.cli.use:extract", "keep a body's features of a data set on disk"),
    "rank": ("tlearn.cli.rank:rank", "say which source to take for a data set, training none"),
    "export": ("tlearn.cli.export:export", "write a model for others: transformers, timm, ..."),
    "tokenizer": ("tlearn.cli.tokenizer:tokenizer", "train a tokenizer on a corpus"),
    "presets": ("tlearn.cli.train:presets", "list published recipes, or compare two"),
    "explain": ("tlearn.cli.train:explain", "print what every parameter would do, and the cost"),
}


@dataclasses.dataclass(frozen=True)
class Refused(Exception):
    """A command line that asks for what there is not; its text is for the user."""

    text: str


def usage() -> str:
    """What `tlearn --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name.ljust(width)}  {text}" for name, (_, text) in VERBS.items())
    return (
        "usage: tlearn VERB [options]\n\n"
        "Transfer learning in JAX and Flax: carry a body to a new task, decide what may move.\n\n"
        f"verbs:\n{verbs}\n\n"
        "tlearn VERB --help lists a verb's options.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: What follows ``tlearn``; by default what the process was started with.

    Returns:
        The exit code: 0, 1 for what went wrong, 2 for a wrong command line, 128 + the signal's
        number after an interruption.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if args[0] == "--version":
        from tlearn import __version__

        sys.stdout.write(f"tlearn {__version__}\n")
        return 0
    if args[0] not in VERBS:
        close = nearest(args[0], VERBS)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        sys.stderr.write(f"error: there is no verb {args[0]!r}{hint}\n\n{usage()}")
        return 2
    module, _, function = VERBS[args[0]][0].partition(":")
    try:
        return getattr(importlib.import_module(module), function)(args[1:])
    except SystemExit as done:  # tyro's way to say that it has shown help, or what is wrong.
        return done.code if isinstance(done.code, int) else 2
    except Refused as refused:
        sys.stderr.write(f"error: {refused.text}\n")
        return 2
    except BrokenPipeError:  # The reader of a pipe has left: nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
        # All of tlearn's own errors are of these kinds and say what to do; a bug in JAX's own
        # machinery is more use with its traceback.
        if not type(error).__module__.startswith(("tlearn", "builtins")):
            raise
        sys.stderr.write(f"error: {error}{_advice(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _advice(error: Exception) -> str:
    """What to do about an error of the operating system, which does not say."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in full:
        return "; free some space, then go on with a run by --resume"
    return ""


if __name__ == "__main__":
    sys.exit(main())
