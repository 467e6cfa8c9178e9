"""Pictures in files, or in memory as they were in files: decoded one at a time, when asked for."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tlearn.data.dataset import ImageDataset, Pixels, label_problems
from tlearn.data.decode import check_image, decode_pixels
from tlearn.data.errors import DataError, listing

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many (0 where that is not known)."""


class PictureFiles(ImageDataset):
    """Encoded pictures: paths, or bytes held in memory."""

    encoded = True

    def __init__(
        self,
        files: Sequence[Path | bytes],
        labels: Sequence[int] | np.ndarray,
        label_names: Sequence[str],
        *,
        ids: Sequence[str],
        name: str,
        channels: int = 3,
        check: str = "quick",
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ):
        """Lists pictures with their labels and looks whether they are pictures.

        Args:
            files: Where each picture is.
            labels: [n], places in ``label_names``.
            label_names: The classes.
            ids: A name for each picture, said in errors and predictions.
            name: What messages call the dataset.
            channels: 3 or 1, see `decode_image`.
            check: ``quick`` reads every header and end; ``full`` decodes everything; ``none``
                leaves unreadable pictures to be found when they are used.
            skip_unreadable: Leave out what fails the check, and list it in `skipped`.
            progress: Called while checking.

        Raises:
            DataError: Naming every file that is no decodable picture.
        """
        if check not in ("quick", "full", "none"):
            raise DataError(f"check={check!r} is none of 'quick', 'full', 'none'")
        if skip_unreadable and check == "none":
            raise DataError("skip_unreadable needs a check that finds them: 'quick' or 'full'")
        codes = np.asarray(labels, dtype=np.int32).reshape(-1)
        problems = label_problems(codes, label_names)
        if not len(files) == len(codes) == len(ids):
            problems.append(f"{len(files)} files, {len(codes)} labels and {len(ids)} ids")
        if problems:
            raise DataError(f"cannot make a dataset {name!r}:\n{listing(problems)}")
        bad: dict[int, str] = {}
        if check != "none":
            for index, file in enumerate(files):
                reason = check_image(file, full=check == "full")
                if reason is not None:
                    bad[index] = reason
                if progress is not None:
                    progress(index + 1, len(files))
        if bad and not skip_unreadable:
            raise DataError(
                f"{name}: {len(bad)} of {len(files)} files are no decodable pictures; remove them, "
                "name them in exclude=(...), or set skip_unreadable=True:\n"
                + listing([f"{ids[index]} {reason}" for index, reason in bad.items()])
            )
        kept = [index for index in range(len(files)) if index not in bad]
        self.name = name
        self.label_names = tuple(label_names)
        self.channels = channels
        self.files = tuple(files[index] for index in kept)
        self.labels = codes[kept]
        self.ids = tuple(ids[index] for index in kept)
        self.skipped = tuple(ids[index] for index in bad)
        """Ids of the unreadable files that were left out."""
        gone = [
            label_names[label] for label in np.unique(codes) if not np.any(self.labels == label)
        ]
        if gone or not kept:
            raise DataError(
                f"{name}: no readable picture is left of "
                + (", ".join(map(repr, gone)) or "any class")
            )

    def id(self, index: int) -> str:
        """Names one picture."""
        return self.ids[index]

    def image(self, index: int) -> Pixels:
        """Decodes one picture.

        Raises:
            DataError: Naming the file and its index, if it cannot be decoded.
        """
        try:
            return decode_pixels(self.files[index], channels=self.channels)
        except DataError as error:
            raise DataError(
                f"{self.name}: picture {index}, {self.ids[index]}, {error}. "
                "check='full' finds all such files before training"
            ) from error

    def fingerprint(self, index: int) -> bytes:
        """Hashes one file's bytes."""
        file = self.files[index]
        return hashlib.sha256(file if isinstance(file, bytes) else file.read_bytes()).digest()
