"""A labelled task that every installation has: which module a function's description comes from."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from tlearn.data.docstrings import SECTION, Described, described, source_files
from tlearn.data.errors import DataError, closest, listing
from tlearn.data.held_out import HeldOut, runs
from tlearn.data.streams import permutation
from tlearn.data.text_dataset import TextDataset

MODULES = {
    "scipy": (
        "scipy.stats",
        "scipy.optimize",
        "scipy.signal+scipy.ndimage",
        "scipy.linalg+scipy.sparse",
        "scipy.special+scipy.integrate+scipy.interpolate",
    )
}
"""The usual classes of a package: modules of one field together, each with over 200 descriptions
to train on."""
MASK = "_"
"""What stands for a name that would tell the module."""
_RUN = 4
_LEAST = 10
_WORD = re.compile(r"\w+")
_CALL = re.compile(r"[\w.]+\(.*\)")
_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b")


@dataclasses.dataclass(frozen=True)
class EmbeddedTask:
    """Descriptions of functions and classes with the module each comes from.

    Attributes:
        train: Descriptions to train on.
        test: Descriptions of other functions; none shares half of its runs of words with one of
            the training part.
        held_out: The test texts as they are in the source, names and all, for corpora to leave out.
        left_out: How many descriptions were too short or said the same as another.
    """

    train: TextDataset
    test: TextDataset
    held_out: HeldOut
    left_out: int


def embedded_task(
    modules: Sequence[str] = MODULES["scipy"],
    *,
    test: float = 0.2,
    words: tuple[int, int] = (8, 80),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddedTask:
    """Makes the task out of installed packages, without importing them.

    A description is what a docstring says before its first section (Parameters, Returns, ...). In
    all of them the names of the modules, and dotted names that hold one, are masked, and in each
    the names of its own function, class and file. Of descriptions that share half of their runs of
    four words, the first is kept. Every class is divided in the same proportion.

    Args:
        modules: The classes: packages or parts of them, as in ``("scipy.stats", "scipy.signal")``,
            several in one class joined by ``+``.
        test: Share of every class that is for testing.
        words: Fewest words of a description, masks left aside; and the most, after which it is cut.
        seed: Which functions are for testing.
        progress: Called with (files read, files in all).

    Raises:
        DataError: Naming every module that is not installed, given twice, within another, or has
            too few functions.
    """
    names = tuple(modules)
    classes = [(label, one) for label, name in enumerate(names) for one in name.split("+")]
    every = [one for _, one in classes]
    problems = [f"{one!r} is named twice" for one in dict.fromkeys(every) if every.count(one) > 1]
    problems += [f"{a} lies in {b}" for a in every for b in every if a.startswith(f"{b}.")]
    problems += [] if len(names) > 1 else [f"{len(names)} modules; expected at least two"]
    if not 0 < test < 1:
        problems.append(f"test={test}; expected a share within 0..1")
    if not 1 <= words[0] <= words[1]:
        problems.append(f"words={words}; expected the fewest and the most")
    files = []
    for label, one in classes:
        try:
            files += [(label, module, file) for module, file in source_files(one)]
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"cannot make an embedded task:\n{listing(problems)}")
    entries: list[tuple[int, Described]] = []
    for done, (label, module, file) in enumerate(files, 1):
        entries += [(label, e) for e in described(module, file) if e.callable]
        if progress is not None:
            progress(done, len(files))
    parts = {part.lower() for one in every for part in one.split(".")}
    found: list[tuple[int, Described, str]] = []
    for label, entry in entries:
        text = " ".join(_masked(_description(entry.text), entry, parts).split()[: words[1]])
        if len([word for word in _WORD.findall(text) if word != MASK]) >= words[0]:
            found.append((label, entry, text))
    kept = _distinct(found)
    few = [
        f"{name} has {count}"
        for label, name in enumerate(names)
        if (count := sum(label == own for own, _, _ in kept)) < _LEAST
    ]
    if few:
        raise DataError(
            f"an embedded task needs at least {_LEAST} different descriptions of a module:\n"
            f"{listing(few)}"
        )
    name = f"embedded:{','.join(names)}"
    chosen = np.zeros(len(kept), bool)
    for label, module in enumerate(names):
        where = np.array([i for i, (own, _, _) in enumerate(kept) if own == label])
        order = permutation(seed, f"embedded task {module}", len(where))
        chosen[where[order[: max(1, round(test * len(where)))]]] = True

    def part(which: np.ndarray, split: str) -> TextDataset:
        rows = [kept[i] for i in np.flatnonzero(which)]
        return TextDataset(
            [text for _, _, text in rows],
            np.array([label for label, _, _ in rows], np.int32),
            names,
            ids=[entry.id for _, entry, _ in rows],
            name=f"{name}/{split}",
            wholes=[_description(entry.text) for _, entry, _ in rows],
        )

    testing = part(chosen, "test")
    return EmbeddedTask(
        train=part(~chosen, "train"),
        test=testing,
        held_out=HeldOut.of(testing),
        left_out=len(entries) - len(kept),
    )


def embedded_splits(where: str) -> dict[str, Callable[[], TextDataset]]:
    """The task under a name: modules parted by commas, or a package with usual classes.

    Raises:
        DataError: If the one package has no usual classes; while reading, as `embedded_task`.
    """
    modules = tuple(part.strip() for part in where.split(","))
    if len(modules) == 1:
        if where not in MODULES:
            raise DataError(
                f"embedded:{where} names one class; expected several modules parted by commas, or "
                f"a package with usual classes: {closest(where, MODULES)}"
            )
        modules = MODULES[where]
    return {
        "train": lambda: embedded_task(modules).train,
        "test": lambda: embedded_task(modules).test,
    }


def _description(text: str) -> str:
    """What a docstring says before its first section."""
    lines = []
    for line in text.split("\n"):
        if SECTION.fullmatch(line):
            break
        # Functions in C begin with how they are called, which is no description.
        if not _CALL.fullmatch(line):
            lines.append(line)
    return " ".join(lines)


def _masked(text: str, entry: Described, parts: set[str]) -> str:
    """Puts the mask for names of modules, and for those of this function, class and file."""
    own = [*entry.name.split("."), *entry.module.split(".")]
    own += [piece for name in entry.module.split(".") for piece in name.split("_")]
    names = {name.lower() for name in own if len(name) > 1} | parts

    def word(found: re.Match[str]) -> str:
        lowered = found.group().lower()
        plurals = (lowered, lowered.removesuffix("s"), lowered.removesuffix("es"))
        return MASK if names.intersection(plurals) else found.group()

    text = _DOTTED.sub(lambda found: MASK if _tells(found.group(), parts) else found.group(), text)
    return _WORD.sub(word, text)


def _tells(dotted: str, parts: set[str]) -> bool:
    return not parts.isdisjoint(dotted.lower().split("."))


def _distinct(found: list[tuple[int, Described, str]]) -> list[tuple[int, Described, str]]:
    """Keeps the first of every group of descriptions that say nearly the same."""
    holders: dict[int, list[int]] = defaultdict(list)
    sizes: list[int] = []
    kept = []
    for row in found:
        own = np.unique(runs(row[2], _RUN)).tolist()
        shared: dict[int, int] = defaultdict(int)
        for run in own:
            for other in holders[run]:
                shared[other] += 1
        if any(2 * count >= min(len(own), sizes[other]) for other, count in shared.items()):
            continue
        for run in own:
            holders[run].append(len(kept))
        sizes.append(len(own))
        kept.append(row)
    return kept
