"""Stages that follow each other: each a run of its own, done once for the same inputs.

A stage's folder is named after a digest of everything it depends on: its config, the contents of
its data, and the digests of the stages before it. What changes a later stage leaves the earlier
ones alone; what was killed goes on where it was.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tlearn import __version__
from tlearn.params.paths import nearest
from tlearn.runs.config import BOOKKEEPING, RunConfig, replace, to_json
from tlearn.runs.fingerprint import fingerprint, specs_of
from tlearn.runs.objective_config import SOURCE
from tlearn.runs.study import Study, to_values
from tlearn.runs.study_stage import REPORT, resolved_study, run_study_stage
from tlearn.runs.summary import RESULTS

Say = Callable[[str], None]
STAGE = "stage:"
"""Before the name of an earlier stage, where a folder is expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerStage:
    """A tokenizer trained on a corpus.

    Attributes:
        name: What later stages call it.
        corpus: What it is trained on.
        kind: ``wordpiece``, ``bpe``, ``unigram`` or ``word``.
        vocab_size: Most tokens.
        lowercase: Whether texts are lowercased.
        special: Special tokens beside those of the kind, as ``("mask=[MASK]",)``.
        sentinels: Tokens that stand for spans.
        characters: Characters that are counted at most.
        text_field: Field or column of the texts; empty for the usual names.
        errors: Whether bytes that are no UTF-8 are refused (``strict``) or replaced (``replace``).
        split: Split of a dataset that is read; empty for train.
        held_out: Datasets whose texts the corpus may not hold, as a run's option of that name.
    """

    name: str
    corpus: str
    kind: str = "wordpiece"
    vocab_size: int = 8000
    lowercase: bool = True
    special: tuple[str, ...] = ()
    sentinels: int = 0
    characters: int = 200_000_000
    text_field: str = ""
    errors: Literal["strict", "replace"] = "strict"
    split: str = ""
    held_out: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStage:
    """A run: pre-training, adaptation or fine-tuning.

    Attributes:
        name: What later stages call it.
        run: What it does. Its ``source`` and ``tokenizer`` may be ``stage:NAME``.
    """

    name: str
    run: RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyStage:
    """A study: arms that start from earlier stages, in paired runs.

    Attributes:
        name: What later stages call it.
        study: What is compared. A ``source`` or ``tokenizer`` of its base and of its factors'
            levels may be ``stage:NAME``.
    """

    name: str
    study: Study


Stage = TokenizerStage | RunStage | StudyStage


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Stages in their order.

    Attributes:
        name: What it is called.
        stages: Each may use those before it.
        about: What it is for.

    Raises:
        ValueError: If two stages have one name, or one uses what does not come before it.
    """

    name: str
    stages: tuple[Stage, ...]
    about: str = ""

    def __post_init__(self) -> None:
        seen: dict[str, Stage] = {}
        problems = []
        for stage in self.stages:
            if stage.name in seen or not stage.name.replace("-", "").replace("_", "").isalnum():
                problems.append(
                    f"stage {stage.name!r}: names are letters, digits, - and _, each used once"
                )
            for user, kind in _used(stage).items():
                found = seen.get(user)
                if found is None:
                    close = nearest(user, seen)
                    problems.append(f"stage {stage.name!r} uses {user!r}: before it are {close}")
                elif not isinstance(found, kind):
                    problems.append(
                        f"stage {stage.name!r} uses {user!r} as a {kind.__name__}, which is a "
                        f"{type(found).__name__}"
                    )
            seen[stage.name] = stage
        if not self.stages:
            problems.append("it has no stages")
        if problems:
            raise ValueError(
                f"the pipeline {self.name!r} cannot be run:\n  " + "\n  ".join(problems)
            )


def _used(stage: Stage) -> dict[str, type]:
    """Names of the stages that one uses, and what they must be."""
    if isinstance(stage, TokenizerStage):
        return {}
    wanted: dict[str, type] = {}
    for run in [stage.run] if isinstance(stage, RunStage) else _configs(stage.study):
        wanted |= {run.source: RunStage, run.body.tokenizer: TokenizerStage}
    return {n.removeprefix(STAGE): kind for n, kind in wanted.items() if n.startswith(STAGE)}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A stage, where it goes, and whether it is done.

    Attributes:
        stage: What it does.
        folder: Where; its name ends with the digest.
        digest: Of all it depends on.
        state: ``done``, ``begun`` or ``new``.
    """

    stage: Stage
    folder: Path
    digest: str
    state: str

    def __str__(self) -> str:
        return f"{self.stage.name:<14} {self.state:<6} {self.folder.name}"


def plan_pipeline(pipeline: Pipeline, out: str | Path) -> list[Planned]:
    """Looks up what is done already; nothing is run.

    Args:
        pipeline: The stages.
        out: Folder of all their folders.
    """
    place = Path(out).expanduser().absolute()
    planned: list[Planned] = []
    digests: dict[str, str] = {}
    for stage in pipeline.stages:
        digest = _digest(stage, digests)
        digests[stage.name] = digest
        folder = place / f"{stage.name}-{digest[:12]}"
        state = "done" if (folder / _done(stage)).is_file() else "new"
        # A run that was cut before it had a config begins again.
        if state == "new" and (folder / "config.json").is_file():
            state = "begun"
        planned.append(Planned(stage, folder, digest, state))
    return planned


def run_pipeline(
    pipeline: Pipeline, out: str | Path, *, say: Say = print, quiet: bool = False
) -> dict[str, Path]:
    """Runs what is not done yet, in order; each stage's folder by its name.

    Args:
        pipeline: The stages.
        out: Folder of all their folders.
        say: Told what is going on.
        quiet: No progress on the screen.

    Raises:
        InterruptedError: If a stage was stopped by a signal; the same command goes on with it.
        ValueError: If a stage cannot be run; what was done before stays done.
    """
    folders: dict[str, Path] = {}
    planned = plan_pipeline(pipeline, out)
    for number, one in enumerate(planned, 1):
        say(f"{number} of {len(planned)}: {one}")
        if one.state != "done":
            _run(one, folders, say, quiet)
        folders[one.stage.name] = one.folder
    return folders


def _run(one: Planned, folders: Mapping[str, Path], say: Say, quiet: bool) -> None:
    stage = one.stage
    one.folder.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(stage, TokenizerStage):
        _train_tokenizer(stage, one.folder, quiet)
    elif isinstance(stage, StudyStage):
        study = resolved_study(stage.study, _place(folders))
        sources = [name for name, kind in _used(stage).items() if kind is RunStage]
        runs = {name: folder for name, folder in folders.items() if name in sources}
        run_study_stage(study, one.folder, runs, say)
    else:
        from tlearn.runs.training import resume, start

        if one.state == "begun":
            result = resume(one.folder, say=say, quiet=quiet)
        else:
            result = start(_resolved(stage.run, folders), one.folder, say=say, quiet=quiet)
        if not result.finished:
            raise InterruptedError(
                f"stage {stage.name!r} was stopped at step {result.step}; the same command goes on"
            )


def _train_tokenizer(stage: TokenizerStage, folder: Path, quiet: bool) -> None:
    from tlearn.data.corpus_opening import CorpusOptions, open_corpus
    from tlearn.data.tokenizer_training import read_special, save_tokenizer, train_tokenizer
    from tlearn.runs.corpora import held_out
    from tlearn.runs.counted import Counted

    special = read_special(stage.special)
    reading = CorpusOptions(text_field=stage.text_field, errors=stage.errors, split=stage.split)
    corpus = open_corpus(stage.corpus, reading, held_out=held_out(stage.held_out))
    kind: Any = stage.kind
    with Counted(f"{stage.name}: documents", quiet=quiet) as progress:
        made = train_tokenizer(
            corpus,
            kind,
            stage.vocab_size,
            lowercase=stage.lowercase,
            special=special,
            sentinels=stage.sentinels,
            characters=stage.characters,
            progress=progress,
        )
    # Under another name until it is whole: its last file says that it is done.
    partial = folder.with_name(f".{folder.name}.partial")
    save_tokenizer(made, partial)
    if folder.exists():
        raise ValueError(f"{folder} holds something else; remove it")
    partial.rename(folder)


def _resolved(run: RunConfig, folders: Mapping[str, Path]) -> RunConfig:
    """The config with the folders of earlier stages in place of their names."""
    place = _place(folders)
    return replace(
        run,
        source=place("source", run.source),
        tokenizer=place("tokenizer", run.body.tokenizer),
    )


def _place(folders: Mapping[str, Path]) -> Callable[[str, Any], Any]:
    """Gives the folder of a stage for its name in a field; other values stay what they are."""

    def place(field: str, value: Any) -> Any:
        if field not in ("source", "tokenizer") or not str(value).startswith(STAGE):
            return value
        folder = folders[value.removeprefix(STAGE)]
        return f"run:{folder}" if field == "source" else str(folder)

    return place


def _digest(stage: Stage, before: Mapping[str, str]) -> str:
    depends: dict[str, Any] = {"tlearn": __version__, "kind": type(stage).__name__}
    if isinstance(stage, TokenizerStage):
        depends["stage"] = dataclasses.asdict(stage)
        specs = [stage.corpus, *stage.held_out]
    else:
        depends["before"] = {name: before[name] for name in sorted(_used(stage))}
        configs = [stage.run] if isinstance(stage, RunStage) else _configs(stage.study)
        specs = [spec for run in configs for spec in specs_of(run)]
        if isinstance(stage, RunStage):
            depends["run"] = to_json(_learned(stage.run))
        else:
            study = dataclasses.replace(stage.study, base=_learned(stage.study.base))
            depends["study"] = to_values(study)
            specs.append("" if study.remember == SOURCE else study.remember)
    files = {spec for spec in specs if spec and not spec.startswith(STAGE)}
    depends["data"] = {spec: fingerprint(spec) for spec in sorted(files)}
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _learned(run: RunConfig) -> RunConfig:
    """The config without where stores lie and how often is told: they change nothing learned."""
    return replace(run, stores="", **BOOKKEEPING)


def _configs(study: Study) -> list[RunConfig]:
    """The configs of a study's runs, whatever its pilots choose."""
    first = {arm.name: study.trials(arm.name)[0] for arm in study.arms}
    return [cell.config for cell in (*study.pilots(), *study.reported(first))]


def _done(stage: Stage) -> str:
    if isinstance(stage, RunStage):
        return RESULTS
    if isinstance(stage, StudyStage):
        return f"{REPORT}/report.html"
    return "tokenizer.json"
