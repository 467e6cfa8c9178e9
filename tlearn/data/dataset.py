"""What a dataset is: random access to examples with named labels, and how one looks at it.

Shapes: ``h w`` pixels, ``c`` channels, ``n`` examples.
"""

import abc
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from tlearn.data.errors import DataError, closest, listing

Pixels: TypeAlias = UInt8[np.ndarray, "h w c"] | Float32[np.ndarray, "h w c"]
Labels: TypeAlias = Int32[np.ndarray, " n"] | Float32[np.ndarray, " n"]
"""Places in the label names; numbers to be estimated where there are no label names."""


class Example(TypedDict):
    """One picture: pixels [h w c] (uint8 or float32), label (a place in the label names), id."""

    image: np.ndarray
    label: np.int32
    id: str


@runtime_checkable
class Dataset(Protocol):
    """Random access to examples.

    A dataset of pictures may also offer ``take(indices)``, which returns images and labels stacked
    in arrays; it is used for whole batches where it is there and `in_memory` is not False.
    """

    def __len__(self) -> int:
        """Counts the examples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Reads one example: a dictionary with label, id, and image or text."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes; a label is a place in here. None where labels are numbers to estimate."""
        ...

    @property
    def digest(self) -> str:
        """A hash of the contents, in their order."""
        ...


class Examples(abc.ABC):
    """What the datasets of this room share. Subclasses say how one example is read."""

    in_memory: bool = False
    """Whether `take` costs no more than an array look-up."""
    encoded: bool = False
    """Whether `fingerprint` hashes the stored file rather than the pixels."""

    name: str
    label_names: tuple[str, ...]
    labels: Labels

    @abc.abstractmethod
    def __getitem__(self, index: int, /) -> Any:
        """Reads one example, into values of its own."""

    @abc.abstractmethod
    def fingerprint(self, index: int) -> bytes:
        """Hashes what one example holds, its label aside."""

    def id(self, index: int) -> str:
        """Names one example, the same way in every run."""
        return f"{self.name}/{index}"

    def __len__(self) -> int:
        return len(self.labels)

    _digest: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over the label names and every example's fingerprint and label, in order.

        Ids are left out: the same pictures in a folder of another name have the same digest. It is
        computed once in the life of this object and kept nowhere else.
        """
        if self._digest is None:
            self._digest = content_digest(self)
        return self._digest

    def subset(self, indices: Sequence[int] | Int64[np.ndarray, " m"]) -> "Examples":
        """Views some of the examples, in the order given."""
        from tlearn.data.view import View

        return View(self, indices)

    def aligned(self, label_names: Sequence[str]) -> "Examples":
        """Views the examples with their labels counted in another list of names.

        Raises:
            DataError: Naming every label that occurs here and is not in ``label_names``.
        """
        from tlearn.data.view import aligned

        return aligned(self, label_names)

    def describe(self) -> str:
        """Tells in a few lines what is in here: examples, classes, sizes."""
        return describe(self)

    def __repr__(self) -> str:
        kinds = f"{len(self.label_names)} classes" if self.label_names else "numbers as labels"
        return f"<{type(self).__name__} {self.name}: {len(self)} examples, {kinds}>"


class ImageDataset(Examples):
    """What the datasets of pictures share. Subclasses say how one picture is read."""

    @abc.abstractmethod
    def image(self, index: int) -> Pixels:
        """Reads the pixels of one example, into an array of its own."""

    @abc.abstractmethod
    def fingerprint(self, index: int) -> bytes:
        """Hashes one example's stored bytes, or its pixels where it has none; not the label."""

    def __getitem__(self, index: int) -> Example:
        index = place(index, len(self))
        return {
            "image": self.image(index),
            "label": np.int32(self.labels[index]),
            "id": self.id(index),
        }


class ArrayDataset(ImageDataset):
    """Pictures of one size, held in memory."""

    in_memory = True

    def __init__(
        self,
        images: np.ndarray,
        labels: Sequence[int] | np.ndarray,
        label_names: Sequence[str],
        *,
        name: str = "array",
        ids: Sequence[str] | None = None,
    ):
        """Wraps arrays; grey pictures may come without a channel axis.

        Args:
            images: [n h w c] or [n h w], uint8 or float32. Not copied: leave it alone afterwards.
            labels: [n], places in ``label_names``.
            label_names: The classes.
            name: What messages call this dataset; ids are ``name/0``, ``name/1``, ...
            ids: Names of the examples, when they have better ones.

        Raises:
            DataError: Listing every misfit of shape, type, count or label.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        problems = []
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4:
            problems.append(f"images have shape {images.shape}, expected [n h w c] or [n h w]")
        if images.dtype not in (np.uint8, np.float32):
            problems.append(f"images are {images.dtype}, expected uint8 (0..255) or float32")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            problems.append(
                f"labels are {labels.dtype} of shape {labels.shape}, expected whole numbers [n]"
            )
        elif len(labels) != len(images):
            problems.append(f"{len(images)} images but {len(labels)} labels")
        else:
            problems += label_problems(labels, label_names)
        if ids is not None and len(ids) != len(labels):
            problems.append(f"{len(labels)} labels but {len(ids)} ids")
        if problems:
            raise DataError(f"cannot make a dataset {name!r}:\n{listing(problems)}")
        self.images = images
        self.labels = labels.astype(np.int32)
        self.label_names = tuple(label_names)
        self.name = name
        self._ids = None if ids is None else tuple(ids)

    def id(self, index: int) -> str:
        """Names one example."""
        return super().id(index) if self._ids is None else self._ids[index]

    def image(self, index: int) -> Pixels:
        """Copies one picture out of the array."""
        return self.images[index].copy()

    def fingerprint(self, index: int) -> bytes:
        """Hashes the pixels of one example."""
        return pixel_fingerprint(self.images[index])

    def take(self, indices: Int64[np.ndarray, " m"]) -> dict[str, np.ndarray]:
        """Copies many examples at once: image [m h w c] and label [m]."""
        chosen = np.asarray(indices)
        return {"image": self.images[chosen], "label": self.labels[chosen]}


def label_problems(labels: np.ndarray, label_names: Sequence[str]) -> list[str]:
    """Says what is wrong with labels and their names; empty when nothing is."""
    names = list(label_names)
    problems = []
    if not names:
        problems.append("there are no label names")
    wrong = sorted({repr(name) for name in names if not isinstance(name, str) or not name})
    if wrong:
        problems.append(f"label names are non-empty strings, got {', '.join(wrong)}")
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    if twice:
        problems.append(f"label names occur twice: {', '.join(twice)}")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        problems.append(
            f"labels run from {labels.min()} to {labels.max()}, but {len(names)} label names "
            f"allow 0 to {len(names) - 1}"
        )
    return problems


def place(index: int, count: int) -> int:
    """Checks an index and counts a negative one from the end."""
    where = int(index)
    if not -count <= where < count:
        raise IndexError(f"example {where} of a dataset of {count}")
    return where % count


def labels_of(dataset: Dataset) -> Labels:
    """Lists all labels, without decoding pictures where the dataset knows them."""
    known = getattr(dataset, "labels", None)
    if known is None:
        known = [dataset[i]["label"] for i in range(len(dataset))]
    return np.asarray(known, dtype=np.int32 if dataset.label_names else np.float32)


def id_of(dataset: Dataset, index: int) -> str:
    """Names one example, without decoding it where the dataset can."""
    known: Any = getattr(dataset, "id", None)
    return str(known(index)) if callable(known) else str(dataset[index]["id"])


def pixel_fingerprint(image: np.ndarray) -> bytes:
    """Hashes one picture: type, shape and pixels."""
    code = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
    code.update(np.ascontiguousarray(image).data)
    return code.digest()


def fingerprint_of(dataset: Dataset, index: int, *, pixels: bool = False) -> bytes:
    """Hashes one example's stored bytes, or its pixels when asked or when that is all it has."""
    known = getattr(dataset, "fingerprint", None)
    if known is None or (pixels and getattr(dataset, "encoded", False)):
        return pixel_fingerprint(np.asarray(dataset[index]["image"]))
    return known(index)


def content_digest(dataset: Examples) -> str:
    """Hashes the examples of a dataset, in order, with their labels and the label names."""
    code = hashlib.sha256("\0".join(dataset.label_names).encode())
    # Whole numbers as eight bytes whatever they are kept in; others as they are.
    labels = dataset.labels.astype("<i8" if dataset.label_names else "<f4")
    for index, label in enumerate(labels):
        code.update(dataset.fingerprint(index))
        code.update(label.tobytes())
    return code.hexdigest()


def describe(dataset: Dataset) -> str:
    """Tells in a few lines what is in a dataset: examples, classes and counts, a size."""
    lines = [
        f"{getattr(dataset, 'name', type(dataset).__name__)}: {len(dataset)} examples",
        f"  {_describe_labels(labels_of(dataset), dataset.label_names)}",
    ]
    first = dataset[0] if len(dataset) else {}
    if "image" in first:
        image = np.asarray(first["image"])
        lines.append(f"  first picture: {' x '.join(map(str, image.shape))} {image.dtype}")
    if "text" in first:
        lines.append(f"  first text: {shortened(first['text'])}")
    if first.get("pair") is not None:
        lines.append(f"  with: {shortened(first['pair'])}")
    skipped = getattr(dataset, "skipped", ())
    if skipped:
        lines.append(f"  left out, unreadable: {len(skipped)} ({', '.join(skipped[:5])}...)")
    return "\n".join(lines)


def _describe_labels(labels: np.ndarray, names: Sequence[str]) -> str:
    if not names:
        return f"labels: numbers from {labels.min():g} to {labels.max():g}"
    counts = np.bincount(labels, minlength=len(names))
    shown = [f"{name} {count}" for name, count in zip(names[:12], counts, strict=False)]
    if len(names) > 12:
        shown.append(f"... {len(names)} classes, {counts.min()} to {counts.max()} each")
    return f"classes: {', '.join(shown)}"


def shortened(text: str, most: int = 70) -> str:
    """Quotes a text, cut after so many characters."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")


def label_index(label_names: Sequence[str], wanted: Sequence[str], what: str) -> list[int]:
    """Finds the places of label names, or raises with the nearest ones."""
    known = {name: index for index, name in enumerate(label_names)}
    problems = [f"{name!r}: {closest(name, label_names)}" for name in wanted if name not in known]
    if problems:
        raise DataError(f"{what}: no such label\n{listing(problems)}")
    return [known[name] for name in wanted]
