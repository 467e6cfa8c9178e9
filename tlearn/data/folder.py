"""Folders of pictures: a folder for each class, perhaps inside one for each split."""

import fnmatch
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tlearn.data.errors import DataError, closest, listing
from tlearn.data.files import PictureFiles, Progress


def folder_dataset(
    root: str | Path,
    *,
    exclude: Sequence[str] = (),
    skip_unreadable: bool = False,
    check: str = "quick",
    channels: int = 3,
    progress: Progress | None = None,
) -> PictureFiles:
    """Reads ``root/<class>/**`` as pictures; the sorted folder names are the label names.

    Args:
        root: The folder of class folders.
        exclude: Patterns (``*`` and ``?``) of paths below ``root``, or of bare file names, that are
            left out. Each must match something; ``name/*`` leaves out the folder with its files.
        skip_unreadable: Leave out files that are no pictures, and list them in `skipped`.
        check: How closely to look at the files now, see `PictureFiles`.
        channels: 3 or 1, see `decode_image`.
        progress: Called while checking.

    Raises:
        DataError: Naming every empty class folder, every file that is no picture or lies beside
            the class folders, or every pattern that matches nothing.
    """
    splits = folder_splits(
        Path(root),
        exclude=exclude,
        skip_unreadable=skip_unreadable,
        check=check,
        channels=channels,
        progress=progress,
    )
    if list(splits) != ["all"]:
        raise DataError(
            f"{root}: holds folders of class folders ({', '.join(splits)}); name one of them"
        )
    return splits["all"]()


def folder_splits(
    root: Path,
    *,
    exclude: Sequence[str] = (),
    skip_unreadable: bool = False,
    check: str = "quick",
    channels: int = 3,
    progress: Progress | None = None,
) -> dict[str, Callable[[], PictureFiles]]:
    """Finds ``root/<split>/<class>/**``, or ``root/<class>/**`` as the one split ``all``."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {closest(root.name, _siblings(root))}")
    every = _walk(root)
    names = ["/".join(path) for path in every]
    out = {name for name in names if any(_matches(name, glob) for glob in exclude)}
    unused = [glob for glob in exclude if not any(_matches(name, glob) for name in names)]
    if unused:
        known = names + sorted({path[-1] for path in every})
        raise DataError(
            f"{root}: patterns to exclude that match no file:\n"
            + listing([f"{glob!r}: {closest(glob, known)}" for glob in unused])
        )
    paths = [path for path, name in zip(every, names, strict=True) if name not in out]
    folders = _folders(root, "", exclude)
    if not folders:
        raise DataError(f"{root}: holds no class folders (expected {root.name}/<class>/<picture>)")
    kinds = {folder: _kind(root / folder, paths) for folder in folders}
    classes = [folder for folder, kind in kinds.items() if kind == "files"]
    splits = [folder for folder, kind in kinds.items() if kind == "folders"]
    mixed = [folder for folder, kind in kinds.items() if kind == "files and folders"]
    # One clear case settles what the unclear ones are.
    if (classes and splits) or (mixed and not classes and not splits):
        raise DataError(
            f"{root}: cannot tell classes from splits; only files, or only folders, are expected "
            f"in {root.name}/*:\n"
            + listing([f"{folder}/ holds {kind}" for folder, kind in kinds.items()])
        )
    if splits:
        splits = folders

    def opener(split: str | None) -> Callable[[], PictureFiles]:
        def read() -> PictureFiles:
            top = root if split is None else root / split
            inside = paths if split is None else [p[1:] for p in paths if p[0] == split]
            label_names = _folders(top, "" if split is None else f"{split}/", exclude)
            files, labels = _classes(top, inside, label_names)
            return PictureFiles(
                files,
                labels,
                label_names,
                ids=["/".join(([] if split is None else [split]) + list(p)) for p in inside],
                name=root.name if split is None else f"{root.name}/{split}",
                channels=channels,
                check=check,
                skip_unreadable=skip_unreadable,
                progress=progress,
            )

        return read

    return {split: opener(split) for split in splits} if splits else {"all": opener(None)}


def _folders(top: Path, prefix: str, exclude: Sequence[str]) -> list[str]:
    """Names the folders in a folder, less those excluded whole."""
    names = sorted(entry.name for entry in top.iterdir() if entry.is_dir())
    return [name for name in names if f"{prefix}{name}/*" not in exclude]


def _classes(
    top: Path, paths: list[tuple[str, ...]], names: list[str]
) -> tuple[list[Path], list[int]]:
    """Lists the files of class folders and their labels."""
    filled = {path[0] for path in paths if len(path) > 1}
    problems = [f"{name}/ is an empty class folder" for name in names if name not in filled]
    problems += [f"{path[0]} lies beside the class folders" for path in paths if len(path) == 1]
    if problems or not names:
        raise DataError(
            f"{top}: not a folder of class folders; put pictures in, remove the folder, or name "
            f"what to leave out in exclude=(...):\n{listing(problems or ['it has no folders'])}"
        )
    code = {name: index for index, name in enumerate(names)}
    return [top.joinpath(*path) for path in paths], [code[path[0]] for path in paths]


def _kind(folder: Path, paths: list[tuple[str, ...]]) -> str:
    """Says what a folder holds directly."""
    files = any(len(path) == 2 for path in paths if path[0] == folder.name)
    folders = any(entry.is_dir() for entry in folder.iterdir())
    return " and ".join(["files"] * files + ["folders"] * folders) or "nothing"


def _matches(name: str, glob: str) -> bool:
    return fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(name.rpartition("/")[2], glob)


def _walk(root: Path) -> list[tuple[str, ...]]:
    """Lists all files below a folder, through links too, in order of their paths."""
    found: list[tuple[str, ...]] = []

    def enter(folder: Path, path: tuple[str, ...], above: frozenset[Path]) -> None:
        real = folder.resolve()
        if real in above:
            raise DataError(f"{folder}: a link that leads back into itself")
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    enter(folder / entry.name, (*path, entry.name), above | {real})
                else:
                    found.append((*path, entry.name))

    enter(root, (), frozenset())
    return sorted(found)


def _siblings(path: Path) -> list[str]:
    parent = path.resolve().parent
    return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
