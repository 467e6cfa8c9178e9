"""What runs read, and its digest: files by contents, installed packages by versions."""

import functools
import hashlib
import os
from importlib import metadata
from pathlib import Path
from sys import version

from tlearn.data import embedded
from tlearn.data.places import named_split, place_of
from tlearn.runs.config import RunConfig
from tlearn.runs.objective_config import SOURCE


def specs_of(config: RunConfig) -> list[str]:
    """Names of all that a run reads: data, corpora, weights, a tokenizer.

    What its source was judged on is none of them: the name of the source stands for that.
    """
    asked, data = config.objective, config.data
    specs = [data.data, config.source, config.body.tokenizer, config.strategy.fisher_data]
    specs += [asked.replay, "" if asked.remember == SOURCE else asked.remember, *asked.held_out]
    if asked.objective != "labels":
        # Of labels these are splits of the same data.
        specs += [data.test_split, "" if data.validation.endswith("%") else data.validation]
    return [spec for spec in specs if spec]


def fingerprint(spec: str) -> str:
    """SHA-256 of what a dataset's or corpus's name stands for.

    Several names joined by ``+`` are taken one by one; a split behind ``@`` is part of the name. A
    TFDS dataset that does not lie in TFDS's own folder (``TFDS_DATA_DIR``) is taken by its name
    alone, as is a name that stands for nothing here.

    Args:
        spec: As `tlearn.data.open_texts`, `open_dataset` and `open_corpus` take it.
    """
    code = hashlib.sha256(spec.encode())
    names = [spec] if place_of(named_split(spec)[0]) is not None else spec.split("+")
    for name in map(str.strip, names):
        whole = named_split(name)[0]
        place = place_of(whole)
        kind, _, where = whole.removeprefix("dataset:").partition(":")
        if place is not None:
            code.update(_files(place).encode())
        elif kind == "embedded":
            code.update(_package(where).encode())
        elif kind == "tfds" and where:
            code.update(_prepared(where).encode())
    return code.hexdigest()


def _prepared(name: str) -> str:
    """What TFDS wrote about a dataset when it was prepared: version, splits, their sizes."""
    home = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    infos = sorted((home / name.partition(":")[0]).rglob("dataset_info.json"))
    return " ".join(
        f"{info.relative_to(home)} {_file(info, info.stat().st_size, info.stat().st_mtime_ns)}"
        for info in infos
    )


def _files(place: Path) -> str:
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    return " ".join(
        f"{file.relative_to(place)} {_file(file, file.stat().st_size, file.stat().st_mtime_ns)}"
        for file in files
    )


# Several stages read one file.
@functools.lru_cache(maxsize=4096)
def _file(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _package(name: str) -> str:
    """Versions of the packages that a documentation is read of, and of how it is read.

    Python's own is always among them.
    """
    found = [version, f"rules {embedded.RULES}"]
    for part in name.replace("embedded:", "").replace(",", "+").split("+"):
        package = part.partition(".")[0].strip()
        try:
            found.append(f"{package} {metadata.version(_DISTRIBUTIONS.get(package, package))}")
        except metadata.PackageNotFoundError:
            found.append(package)
    return " ".join(found)


_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
