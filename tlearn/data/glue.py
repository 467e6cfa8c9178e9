"""The nine tasks of GLUE as they lie in folders: what is special about their files, as data.

Wang et al. 2019, https://arxiv.org/abs/1804.07461. Files with a header line need nothing here: the
names of their columns are known. The files of a task may also be those of its own authors.
"""

import dataclasses
import re
from pathlib import Path

from tlearn.data.errors import DataError, closest


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """One task.

    Attributes:
        name: As TFDS calls it.
        spellings: Other names of its folder, in small letters without signs.
        columns: Text, second text and label in files without a header line, counted from 1.
        widths: How many fields a row has in those files.
        skip_ragged: Whether its official files hold broken rows, which everybody leaves out.
    """

    name: str
    spellings: tuple[str, ...] = ()
    columns: tuple[str, str, str] | None = None
    widths: tuple[int, ...] = ()
    skip_ragged: bool = False


TASKS = (
    GlueTask("cola", columns=("4", "", "2"), widths=(4,)),
    GlueTask("sst2", ("sst",)),
    GlueTask("mrpc", ("msrparaphrase",)),
    # The benchmark's own files; sources of a pair are two more columns in some rows.
    GlueTask("stsb", ("sts", "stsbenchmark"), columns=("6", "7", "5"), widths=(7, 9)),
    GlueTask("qqp", ("quora",), skip_ragged=True),
    GlueTask("mnli"),
    GlueTask("qnli"),
    GlueTask("rte"),
    GlueTask("wnli"),
)
BY_NAME = {task.name: task for task in TASKS}
_FILES = {"stsb": re.compile(r"sts-"), "mrpc": re.compile(r"msr_paraphrase_")}


def glue_task(folder: Path) -> GlueTask | None:
    """Tells by the name of a folder, or of its files, which task it holds; None if none."""
    plain = re.sub(r"[^a-z0-9]", "", folder.resolve().name.lower())
    for task in TASKS:
        if plain == task.name or plain in task.spellings:
            return task
    for name, pattern in _FILES.items():
        if any(pattern.match(entry.name.lower()) for entry in folder.iterdir()):
            return BY_NAME[name]
    return None


def need_glue_task(folder: Path) -> GlueTask:
    """Tells which task a folder holds.

    Raises:
        DataError: If its name does not say, with the nearest name.
    """
    task = glue_task(folder)
    if task is None:
        raise DataError(
            f"glue:{folder}: cannot tell which task of GLUE this is; name the folder after it: "
            f"{closest(folder.name, BY_NAME)}; or open any folder of texts with text:{folder}"
        )
    return task


def glue_name(spec: str) -> str:
    """Names the task of GLUE that a dataset's name stands for; empty for any other dataset.

    Example:
        >>> glue_name("tfds:glue/cola"), glue_name("glue/rte:2.0.0"), glue_name("imdb_reviews")
        ('cola', 'rte', '')
    """
    kind, _, where = spec.partition(":")
    path = Path(where if kind in ("glue", "text") and where else spec).expanduser()
    if path.is_dir():
        task = glue_task(path)
        return "" if task is None else task.name
    match = re.match(r"(?:tfds:)?glue/(\w+)", spec)
    name = "" if match is None else match[1].replace("mnli_matched", "mnli")
    return name if name in BY_NAME else ""
