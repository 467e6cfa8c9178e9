"""The quickstart: pre-train on the digits 0-4, transfer to 5-9 with few labels, compare."""

import dataclasses
import datetime
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OLD, NEW = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")
REFERENCE = "from scratch"
STEPS, POINTS, BATCH = 60, 4, 32
SHOWN = 10
"""Labels per class of the main table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quickstart:
    """Options of the quickstart."""

    out: str = "runs/quickstart"
    """Folder of the report; must not exist yet, or be an earlier quickstart's."""
    seeds: int = 10
    """Paired runs of every arm, at least 2."""
    per_class: tuple[int, ...] = (5, 10, 20, 50)
    """Labels per class of the new digits; 10 is the main table's and always among them."""

    def __post_init__(self):
        problems = []
        if self.seeds < 2:
            problems.append(f"seeds is {self.seeds}; an interval needs at least 2")
        if SHOWN not in self.per_class or min(self.per_class) < 1 or max(self.per_class) > 60:
            problems.append(
                f"per_class is {self.per_class}; use numbers from 1 to 60, 10 among them"
            )
        if problems:
            raise ValueError("this quickstart cannot be run:\n  " + "\n  ".join(problems))


def arms() -> dict[str, Any]:
    """The strategies that are compared, by name.

    Rates and strengths were chosen on the validation pictures with seeds 100-104
    (`experiments/digits/choose.py`), never on the test pictures.
    """
    from tlearn.studies.arms import Setting
    from tlearn.train.schedules import Cosine
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.pull import Pull
    from tlearn.transfer.strategy import ULMFIT_FACTOR, Strategy

    def setting(name: str, rate: float, strategy: Strategy, **where: bool) -> Setting:
        optimizer = adamw(rate, Cosine(warmup="10%"))
        return Setting(name=name, strategy=strategy, optimizer=optimizer, **where)

    discriminative = Strategy(layer_decay=1 / ULMFIT_FACTOR)
    squared = Strategy(pull=Pull(form="l2sp", strength=0.001, way="loss"))
    unsquared = Strategy(pull=Pull(form="norm", strength=1.0, way="proximal"))
    settings = [
        setting(REFERENCE, 3e-3, Strategy(), scratch=True),
        setting("head only, cached", 3e-2, Strategy(freeze="body"), cached=True),
        setting("freeze bottom 2", 1e-2, Strategy(freeze="bottom:2")),
        setting("everything, one rate", 3e-3, Strategy()),
        setting("discriminative rates", 1e-2, discriminative),
        setting("pulled, squared", 3e-3, squared),
        setting("pulled, unsquared", 3e-3, unsquared),
    ]
    return {setting.name: setting for setting in settings}


def run(options: Quickstart, say: Any, command: str) -> Path:
    """Runs the quickstart and writes its report.

    Args:
        options: What is asked.
        say: Told what is going on, a line at a time.
        command: What to type to get this again.

    Returns:
        The report page.

    Raises:
        RunFolderError: If the folder holds something else.
    """
    import jax

    from tlearn.bodies import build as build_body
    from tlearn.heads import Linear
    from tlearn.model import Model
    from tlearn.runs.quickstart_source import train_source
    from tlearn.studies.arms import Bench, subsets
    from tlearn.train.mesh import make_mesh

    began = time.perf_counter()
    out = Path(options.out)
    _clear(out)
    say(f"1. source: a small residual network learns the digits {', '.join(OLD)}, turned 8 ways")
    source = train_source(OLD, out / "source", say)
    data = digits(source.facts)
    mesh = make_mesh() if jax.device_count() > 1 else None
    bench = Bench(
        model=Model(build_body(dict(source.body)), Linear(len(NEW), kernel_init="scaled")),
        params=source.params,
        collections=source.collections,
        examples=data["pool"][0],
        label=data["pool"][1],
        steps=STEPS,
        batch_size=BATCH,
        points=POINTS,
        mesh=mesh,
    )
    seeds = range(options.seeds)
    counts = tuple(sorted(set(options.per_class)))
    pool = np.arange(len(bench.label))
    drawn = subsets(bench.label, counts, list(seeds), among=pool)
    say(
        f"2. transfer to {', '.join(NEW)}: {len(arms())} arms × {options.seeds} seeds × "
        f"{counts} labels per class; test: {len(data['test'][1])} pictures"
    )
    cells = _train(bench, drawn, counts, list(seeds), data, say)
    say("3. report")
    page = _report(out, bench, cells, counts, list(seeds), drawn, data, command, began)
    from rich.console import Console

    from tlearn.studies.report import console_table

    Console().print(console_table(page[1]))
    for line in page[2]:
        say(line)
    return page[0]


def digits(facts: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The new digits, prepared: ``pool`` to draw labels from, ``watch`` to choose on, ``test``."""
    from tlearn.data import carve_validation, eval_pipeline, open_dataset, select_classes

    pipeline = eval_pipeline(mean=facts.mean, std=facts.std, size=facts.size)

    def arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        examples = [pipeline(dataset[i]) for i in range(len(dataset))]
        images = np.stack([example["image"] for example in examples])
        return images, np.asarray([example["label"] for example in examples], np.int32)

    train = select_classes(open_dataset("digits", "train"), NEW)
    pool, watch = carve_validation(train, fraction=0.3, seed=0)
    test = select_classes(open_dataset("digits", "test"), NEW)
    return {"pool": arrays(pool), "watch": arrays(watch), "test": arrays(test)}


def _clear(out: Path) -> None:
    """Makes room: an earlier quickstart is replaced, anything else is left alone."""
    import shutil

    from tlearn.runs.folder import RunFolderError

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "quickstart.json").is_file() and not _torn(out):
        raise RunFolderError(f"{out} holds something else; name another folder with --out")
    shutil.rmtree(out)


def _torn(out: Path) -> bool:
    """Whether a folder holds nothing but the source of a quickstart that was interrupted."""
    return {path.name for path in out.iterdir()} == {"source"} and (out / "source").is_dir()


def _train(
    bench: Any,
    drawn: Mapping[int, Sequence[np.ndarray]],
    counts: Sequence[int],
    seeds: Sequence[int],
    data: Mapping[str, Any],
    say: Any,
) -> dict[str, dict[int, Any]]:
    """Every arm at every amount of labels, with a progress bar."""
    from tlearn.runs.console import Console
    from tlearn.studies.arms import run_cell

    settings = arms()
    console = Console(len(settings) * len(counts), title="runs")
    cells: dict[str, dict[int, Any]] = {}
    done = 0
    for name, setting in settings.items():
        cells[name] = {}
        for count in counts:
            cells[name][count] = run_cell(
                bench,
                setting,
                drawn[count],
                seeds,
                evaluate_on=data["test"][0],
                watch=data["watch"] if count == SHOWN else None,
            )
            done += 1
            console.step(done)
        say(f"   {name}: {cells[name][SHOWN].plan.summary()}")
    console.close()
    return cells


def _report(
    out: Path,
    bench: Any,
    cells: Mapping[str, Mapping[int, Any]],
    counts: Sequence[int],
    seeds: Sequence[int],
    drawn: Mapping[int, Sequence[np.ndarray]],
    data: Mapping[str, Any],
    command: str,
    began: float,
) -> tuple[Path, Any, list[str]]:
    from tlearn.runs.versions import versions
    from tlearn.studies import contents, plots
    from tlearn.studies.report import write_report

    names = list(cells)
    truth = data["test"][1]

    def scores(cell: Any) -> dict[int, float | None]:
        right = (cell.logits.argmax(-1) == truth).mean(axis=1)
        return {s: None if i in cell.failed else float(right[i]) for i, s in enumerate(seeds)}

    table = {name: {n: scores(cell) for n, cell in row.items()} for name, row in cells.items()}
    shown = {name: row[SHOWN] for name, row in cells.items()}
    moved = {
        name: {
            layer: dict(zip(seeds, map(float, values), strict=True))
            for layer, values in cell.distance.items()
        }
        for name, cell in shown.items()
        if cell.distance and name != REFERENCE
    }
    figures = [
        plots.learning_curves(
            {name: plots.Curve(cell.at, cell.curve) for name, cell in shown.items()},
            arms=names,
            ylabel="validation accuracy",
        ),
        plots.label_efficiency(table, arms=names, ylabel="test accuracy"),
        plots.distance_by_layer(moved, arms=names),
    ]
    wall = time.perf_counter() - began
    report = contents.Report(
        title="Transfer on handwritten digits: 0-4 to 5-9",
        command=command,
        date=datetime.date.today().isoformat(),
        versions={name: str(value) for name, value in versions().items()},
        protocol=_protocol(bench, data, seeds),
        metric="test accuracy",
        setting=f"{SHOWN} labels per class",
        arms=contents.arms_from_scores(
            {name: table[name][SHOWN] for name in names},
            REFERENCE,
            plans={name: cell.plan.summary() for name, cell in shown.items()},
            pulls={name: cell.pull if cell.pull > 0 else None for name, cell in shown.items()},
            costs={name: _cost(row, arms()[name]) for name, row in cells.items()},
            test_examples=len(truth),
        ),
        reference=REFERENCE,
        efficiency=contents.efficiency_from_scores(table, REFERENCE) if len(counts) > 1 else None,
        plots=figures,
        notes=[
            _pixels(bench, drawn[SHOWN], data),
            f"The whole quickstart took {wall:.0f} s on {os.cpu_count()} cores, compilation "
            "included.",
        ],
    )
    page = write_report(out, report)
    (out / "quickstart.json").write_text('{"format": 1}\n')
    return page, report, [f"report: {page}", f"{wall:.0f} s in all"]


def _pixels(bench: Any, subsets: Sequence[np.ndarray], data: Mapping[str, Any]) -> str:
    """What a linear model makes of the pixels alone: how much there is to gain at all."""
    from sklearn.linear_model import LogisticRegression

    flat = bench.examples.reshape(len(bench.examples), -1)
    images, truth = data["test"]
    scores = []
    for subset in subsets:
        linear = LogisticRegression(max_iter=500).fit(flat[subset], bench.label[subset])
        scores.append(linear.score(images.reshape(len(images), -1), truth))
    return (
        f"Logistic regression on the raw pixels of the same {SHOWN} pictures a class reaches "
        f"{np.mean(scores):.3f}: these digits are nearly linearly separable, and features of five "
        "other digits, averaged over the picture, keep less of them. That is why the head alone "
        "gains nothing here; moving the body does."
    )


def _cost(row: Mapping[int, Any], setting: Any) -> Any:
    from tlearn.studies.contents import Cost

    totals = row[SHOWN].plan.totals(setting.optimizer.slots)
    return Cost(
        trained=totals["trained"],
        wall_s=round(sum(cell.wall_s for cell in row.values()), 2),
        optimizer_bytes=totals["optimizer_bytes"],
    )


def _protocol(bench: Any, data: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
    return [
        f"One source, trained to tell the digits {', '.join(OLD)} and their 8 orientations; its "
        "weights are the same for all "
        "runs, so intervals do not include the chance of pre-training.",
        f"{len(seeds)} seeds: each draws labelled pictures, a head, an order, and the weights of "
        f"'{REFERENCE}'; runs of equal seed are pairs.",
        f"Every run: {bench.steps} updates of {bench.batch_size} pictures, AdamW, cosine.",
        "Rates and pull strengths were chosen beforehand on the validation pictures with other "
        f"seeds; curves are on those {len(data['watch'][1])} validation pictures.",
        f"Figures are on {len(data['test'][1])} test pictures, read once, at the end of each run; "
        "no rate or strength was chosen on them.",
    ]
