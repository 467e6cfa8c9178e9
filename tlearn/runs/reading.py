"""How a trained model reads the examples it is used on: pictures, or texts."""

import dataclasses
import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from tlearn import hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.data import (
    Batches,
    DataError,
    Dataset,
    TextBatches,
    TextOptions,
    TokenDataset,
    Tokenizer,
    aligned,
    decode_image,
    eval_pipeline,
    labels_of,
    open_dataset,
    open_texts,
    select_classes,
    tokenise,
    unlabelled,
)
from tlearn.tasks import TaskBatches

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which examples of a dataset a model is used on.

    Attributes:
        data: The dataset.
        split: Its split expression; empty where there is one split.
        classes: Label names to keep; all if empty.
        exclude: File patterns to leave out of a folder of pictures.
        columns: Columns of a table of texts.
    """

    data: str
    split: str = ""
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    columns: TextOptions = TextOptions()


@runtime_checkable
class Reader(Protocol):
    """Opens datasets as a model takes them, and makes single examples ready."""

    def open(self, chosen: Selection) -> Dataset:
        """Opens a dataset; says where it is unlike what the model was trained on."""
        ...

    def matched(self, dataset: Dataset) -> Dataset:
        """Counts its labels as the model does, by name."""
        ...

    def batches(self, dataset: Dataset, batch_size: int) -> TaskBatches:
        """One pass in order."""
        ...

    def prepare(self, given: Sequence[str | Path]) -> dict[str, np.ndarray]:
        """Makes inputs of a body out of single examples."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Reads pictures as a source's were prepared.

    Attributes:
        source: The model's weights, with all that travels with them.
        label_names: Names of its outputs.
        say: Told what figures should be read with.
    """

    source: hub.Source
    label_names: tuple[str, ...]
    say: Say

    @property
    def facts(self) -> ImageFacts:
        """How pictures are prepared.

        Raises:
            ValueError: If the weights do not say.
        """
        if not isinstance(self.source.facts, ImageFacts):
            raise ValueError("these weights do not say how pictures were prepared for them")
        return self.source.facts

    @functools.cached_property
    def pipeline(self) -> Any:
        """What is done to a picture."""
        f = self.facts
        return eval_pipeline(
            mean=f.mean,
            std=f.std,
            size=f.size,
            crop=f.crop,
            interpolation=f.interpolation,
            channels=f.channels,
        )

    def open(self, chosen: Selection) -> Dataset:
        """Opens a dataset; says where its channels are converted."""
        options = {"exclude": chosen.exclude} if chosen.exclude else {}
        dataset: Dataset = open_dataset(chosen.data, chosen.split or None, **options)
        if chosen.classes:
            dataset = select_classes(dataset, chosen.classes)
        has = np.asarray(dataset[0]["image"]).shape[-1]
        if has != self.facts.channels:
            channels = self.facts.channels
            self.say(f"the pictures have {has} channels and are converted to {channels}")
        return dataset

    def matched(self, dataset: Dataset) -> Dataset:
        """Counts its labels as the model does, by name."""
        return match_labels(dataset, self.source, self.label_names)

    def batches(self, dataset: Dataset, batch_size: int) -> TaskBatches:
        """One pass in order."""
        return Batches(dataset, self.pipeline, batch_size, seed=0, shuffle=False)

    def prepare(self, given: Sequence[str | Path]) -> dict[str, np.ndarray]:
        """Reads and prepares picture files.

        Raises:
            DataError: Naming every file that is no picture.
        """
        prepared, problems = [], []
        for path in given:
            try:
                image = decode_image(Path(path), channels=self.facts.channels)
                prepared.append(self.pipeline({"image": image, "label": np.int32(0)})["image"])
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError("pictures that cannot be read:\n  " + "\n  ".join(problems))
        return {"image": np.stack(prepared)}


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
    """Reads texts with a source's tokenizer, in the direction in which it read them.

    Attributes:
        source: The model's weights, with all that travels with them.
        label_names: Names of its outputs; empty for one that estimates a number.
        say: Told what figures should be read with.
        max_length: Where texts are cut, in tokens; 0 for what the body can take.
    """

    source: hub.Source
    label_names: tuple[str, ...]
    say: Say
    max_length: int = 0

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that travels with the weights."""
        facts = self.source.facts
        lowercase = facts.lowercase if isinstance(facts, TextFacts) else None
        return Tokenizer.from_files(self.source.files, lowercase=lowercase)

    def open(self, chosen: Selection) -> Dataset:
        """Opens a dataset of texts."""
        columns = chosen.columns
        if self.source.head is not None and columns.labels == "auto":
            kind = "class" if self.label_names else "number"
            columns = dataclasses.replace(columns, labels=kind)
        dataset: Dataset = open_texts(chosen.data, chosen.split or None, columns)
        return select_classes(dataset, chosen.classes) if chosen.classes else dataset

    def matched(self, dataset: Dataset) -> Dataset:
        """Counts its labels as the model does, by name."""
        if not self.label_names:
            return dataset
        return match_labels(dataset, self.source, self.label_names)

    def batches(self, dataset: Dataset, batch_size: int) -> TaskBatches:
        """One pass, by length; says how many texts are cut."""
        return TextBatches(self._tokens(dataset), batch_size, seed=0, shuffle=False)

    def prepare(self, given: Sequence[str | Path]) -> dict[str, np.ndarray]:
        """Makes tokens of texts; a tab parts the two texts of a pair.

        Raises:
            DataError: If some texts are pairs and others are not.
        """
        parts = [str(text).split("\t") for text in given]
        pairs = {len(part) for part in parts}
        if len(pairs) > 1 or max(pairs) > 2:
            raise DataError("texts are single, or pairs with one tab between the two; not both")
        second = [part[1] for part in parts] if pairs == {2} else None
        made = self._tokens(unlabelled([part[0] for part in parts], second))
        # Widths that double: few programs, whatever is asked for.
        longest = int(made.tokens.lengths.max())
        width = max(16, 1 << (longest - 1).bit_length())
        facts = self.source.facts
        if isinstance(facts, TextFacts) and facts.max_length is not None:
            width = max(longest, min(width, facts.max_length))
        batches = TextBatches(made, len(made), seed=0, shuffle=False, buckets=(width,))
        batch = batches.at(0)
        back = np.argsort(batch["index"])
        return {name: batch[name][back] for name in ("tokens", "segments", "types")}

    def _tokens(self, dataset: Dataset) -> TokenDataset:
        facts = self.source.facts if isinstance(self.source.facts, TextFacts) else None
        limit = self.max_length or (facts.max_length if facts else None)
        made = tokenise(
            dataset,
            self.tokenizer,
            max_length=limit,
            types=facts is None or facts.pair_types,
            backward=facts is not None and bool(facts.backward),
        )
        cut = int(made.tokens.cut.sum())
        if cut:
            self.say(f"{cut} of {len(made)} texts are longer than {limit} tokens, and are cut")
        return made


def match_labels(dataset: Dataset, source: hub.Source, names: tuple[str, ...]) -> Dataset:
    """Counts the labels of a dataset as a model does, by name.

    Raises:
        DataError: If the data has labels the model was not trained on, or neither side has names.
    """
    if source.label_names is None:
        if len(dataset.label_names) != len(names):
            raise DataError(
                f"the weights have {len(names)} outputs without names, the data has "
                f"{len(dataset.label_names)} labels: they cannot be matched; fine-tune first"
            )
        return dataset
    counts = np.bincount(labels_of(dataset), minlength=len(dataset.label_names))
    there = [n for n, count in zip(dataset.label_names, counts, strict=True) if count]
    strange = [name for name in there if name not in names]
    if strange:
        known = [name for name in there if name in names]
        fix = f"to leave them out, say --classes {shlex.join(known)}; " if known else ""
        raise DataError(
            f"the data has labels unseen in training: {', '.join(map(repr, strange[:20]))}; {fix}"
            f"the model knows {', '.join(map(repr, names[:20]))}"
        )
    return aligned(dataset, names)


def placed(prepared: dict[str, np.ndarray], rows: int) -> dict[str, jax.Array]:
    """Fills prepared examples up to a number of rows, so that one program serves all batches."""
    missing = {name: rows - len(value) for name, value in prepared.items()}
    return {
        name: jax.numpy.asarray(np.pad(v, [(0, missing[name]), *[(0, 0)] * (v.ndim - 1)], "edge"))
        for name, v in prepared.items()
    }
