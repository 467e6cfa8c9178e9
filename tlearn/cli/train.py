"""Verbs that train, and the one that says what training would do."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read
from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, from_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where a run goes, and the run."""

    run: RunConfig = RunConfig(data=DataConfig(data=""))
    """The run."""
    out: str = ""
    """Folder of the new run."""
    resume: str = ""
    """Folder of an interrupted run to go on with; its own options hold."""
    preset: str = ""
    """A published recipe to start from (`tlearn presets` lists them); other options win."""
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """No progress on the screen."""


T = TypeVar("T", bound=Options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted(Options):
    """The run, and the device it is counted for."""

    flops: float = 0.0
    """Peak of a device in FLOPs a second, as in 1e14, to tell its hours; 0 tells none."""
    used: float = 0.4
    """Share of that peak that a training reaches."""


def pretrain(args: Sequence[str]) -> int:
    """Trains a body and a head from nothing."""
    options = _options(args, "pretrain", "Train a body and a head from nothing.")
    if options.run.source:
        raise Refused("pretrain starts from nothing; use finetune with --source")
    return _train(options, args)


def finetune(args: Sequence[str]) -> int:
    """Transfers a source to a task."""
    options = _options(
        args, "finetune", "Transfer a source to a task: new head, and a strategy for the rest."
    )
    if not options.resume and not options.run.source:
        raise Refused(
            "finetune needs --source: run:FOLDER, hf:FOLDER or hf:ORG/NAME, timm:, tf:, tfhub:, "
            "kaggle:, torch:FILE, safetensors:FILE, npz:FILE, glove:FILE or word2vec:FILE"
        )
    return _train(options, args)


def adapt(args: Sequence[str]) -> int:
    """Goes on with what a source was pre-trained on, on texts of the target's kind."""
    default, source = Options(), _value(args, "--source")
    if source:
        goes_on = HeadConfig(head_weights="source")
        run = RunConfig(data=DataConfig(data=""), source=source, head=goes_on)
        default = dataclasses.replace(default, run=run)
    about = "Go on with a source's own objective and head on a corpus of the target's kind."
    options = _options(args, "adapt", about, default)
    if not options.resume and not options.run.source:
        raise Refused("adapt needs --source (run:FOLDER, hf:FOLDER, ...)")
    if options.run.objective.objective == "labels":
        raise Refused(
            "adapt needs --objective, the one that the source was trained with: next_tokens, "
            "masked_tokens, next_sentence, ...; labels are for finetune"
        )
    return _train(options, args)


def presets(args: Sequence[str]) -> int:
    """Lists the presets, or what differs between two of them."""
    from tlearn.runs.presets import PRESETS, compare

    if len(args) == 2 and not set(args) & {"-h", "--help"}:
        sys.stdout.write("\n".join(compare(*args)) + "\n")
        return 0
    lines = [str(preset) for preset in PRESETS.values()]
    sys.stdout.write("usage: tlearn presets [ONE OTHER]\n\n" + "\n\n".join(lines) + "\n")
    return 0


def explain(args: Sequence[str]) -> int:
    """Prints the plan of a run and what it would cost, compiling nothing.

    Data that is not here can be planned with: ``--data planned:EXAMPLESxCLASSES``, or
    ``planned:TOKENS`` of a corpus. A preset says how much its paper had.
    """
    about = (
        "Print what every parameter would do and what a run would cost; nothing is compiled. "
        "--data planned:EXAMPLESxCLASSES (or planned:TOKENS) counts without the data."
    )
    options = _options(args, "explain", about, Counted())
    from tlearn.runs.explain import explain as explain_run

    if told := _preset_told(options, args):
        sys.stdout.write(told + "\n\n")
    sys.stdout.write(explain_run(options.run, rate=options.flops, used=options.used) + "\n")
    return 0


def _options(args: Sequence[str], verb: str, about: str, default: T = Options()) -> T:
    """Reads the options over what `--resume` or `--preset` already decides."""
    resumed, preset = _value(args, "--resume"), _value(args, "--preset")
    if resumed:
        default = dataclasses.replace(default, run=_stored(Path(resumed)))
    elif preset:
        from tlearn.runs.presets import PRESETS, apply_preset

        base = dataclasses.replace(default.run, source=_value(args, "--source"))
        run = apply_preset(base, preset)
        if isinstance(default, Counted) and PRESETS[preset].planned:
            planned = f"planned:{PRESETS[preset].planned}"
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=planned))
        default = dataclasses.replace(default, run=run)
    options = read(type(default), args, verb=verb, about=about, default=default)
    if not options.run.data.data:
        raise Refused(
            f"{verb} needs --data: a folder or file, or digits, mnist:DIR, tfds:NAME, ..."
        )
    return options


def _value(args: Sequence[str], option: str) -> str:
    """An option's value, known before the options are read; empty if it is not given."""
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name == option and (equals or i + 1 < len(args)):
            return value if equals else args[i + 1]
    return ""


def _stored(folder: Path) -> RunConfig:
    """The config of a run, so that options given beside ``--resume`` are seen to differ."""
    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        raise Refused(f"{folder} is no run to resume: it has no readable config.json") from None
    return from_json(values)


def _preset_told(options: Options, args: Sequence[str]) -> str:
    """Where the preset of a new run is from, and what is not of it; empty without one."""
    if not options.preset or options.resume:
        return ""
    from tlearn.runs.presets import about

    given = {arg.partition("=")[0].lstrip("-").replace("-", "_") for arg in args}
    return about(options.preset, options.run, given)


def _train(options: Options, args: Sequence[str]) -> int:
    if options.resume and options.out:
        raise Refused("--resume goes on in its own folder; drop --out")
    if not options.resume and not options.out:
        raise Refused("name the folder of the new run: --out RUNS/NAME")
    from tlearn.runs.training import resume, start

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    if options.resume:
        result = resume(options.resume, asked=options.run, say=say, quiet=options.quiet)
    else:
        told = _preset_told(options, args)
        if told and not options.quiet:
            say(told)
        result = start(options.run, options.out, say=say, quiet=options.quiet)
    return result.exit_code
