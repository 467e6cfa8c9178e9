"""Texts and pairs of texts: which, made tokens how, judged by what. Classes, or one number."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.facts import TextFacts
from tlearn.data import (
    DataError,
    Dataset,
    TextBatches,
    TextOptions,
    TokenDataset,
    Tokenizer,
    aligned,
    carve_validation,
    draw,
    glue_name,
    labels_of,
    open_texts,
    overlap,
    select_classes,
    text_splits,
    tokenise,
)
from tlearn.data.buckets import widened
from tlearn.objectives import Classification, Regression, Sums
from tlearn.tasks.carving import read_share
from tlearn.tasks.metrics import GLUE, NUMBERS, check_metrics, compute
from tlearn.tasks.task import Labelled

Progress = Callable[[int, int], None]
LARGEST_OVERLAP = 0.05
"""Short texts repeat in the best of sets (TREC's test part 1.8 %, CoLA's 1.2 %); more is a wrong
split. What is shared is always told."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextTask(Labelled):
    """Texts with labels, and what is done to them.

    Attributes:
        train: What is learned from, as tokens.
        validation: What choices are made on; None if nothing is chosen.
        test: What is reported, read once at the end; None if nothing is.
        facts: How texts are made numbers: the body's own.
        tokenizer: What made them.
        goal: The loss.
        max_length: Where texts are cut; None if none is.
        buckets: Widths of batches; chosen by the training texts' lengths if empty.
        figures: Metrics of a whole part, by name.
        shared: Texts of the test part that occur in the training part as well.
    """

    train: TokenDataset
    validation: TokenDataset | None
    test: TokenDataset | None
    facts: TextFacts
    tokenizer: Tokenizer
    goal: Classification | Regression
    max_length: int | None = None
    buckets: tuple[int, ...] = ()
    figures: tuple[str, ...] = ()
    shared: int = 0

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the head's outputs; empty for a number."""
        return tuple(self.train.label_names)

    @property
    def outputs(self) -> int:
        """How many outputs the head needs: one a class, or one for a number."""
        return len(self.label_names) or 1

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights: the tokenizer's."""
        return self.tokenizer.files

    @property
    def parts(self) -> dict[str, TokenDataset]:
        """The parts there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprints of the parts' tokens, to notice data or a tokenizer that changed."""
        return {name: part.digest for name, part in self.parts.items()}

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch of one, as shapes; as wide as batches are in the mean, for what a step costs."""
        place = np.searchsorted(self.buckets, self.train.tokens.lengths)
        width = int(np.ceil(np.mean(np.array(self.buckets)[place])))
        tokens = jax.ShapeDtypeStruct((1, width), jnp.int32)
        label = jnp.int32 if self.label_names else jnp.float32
        return {
            "tokens": tokens,
            "segments": tokens,
            "types": tokens,
            "label": jax.ShapeDtypeStruct((1,), label),
            "mask": jax.ShapeDtypeStruct((1,), jnp.float32),
        }

    def objective(self, outputs: Any, batch: Mapping[str, Any], /) -> Sums:
        """Sums of loss and metrics over a batch."""
        return self.goal(outputs, batch)

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Figures of all examples of a part at once."""
        return compute(self.figures, outputs, labels, self.label_names)

    def train_batches(self, batch_size: int, seed: int) -> TextBatches:
        """Shuffled batches of the training part, each of texts of similar length."""
        return TextBatches(self.train, batch_size, seed=seed, shuffle=True, buckets=self.buckets)

    def eval_batches(self, dataset: Dataset, batch_size: int) -> TextBatches:
        """One pass over a part, by length, each text once; in the widths of the training batches.

        Raises:
            DataError: If the dataset holds no tokens.
        """
        if not isinstance(dataset, TokenDataset):
            raise DataError(f"{type(dataset).__name__} holds no tokens; tokenise it first")
        widths = widened(self.buckets, dataset.tokens.lengths)
        return TextBatches(dataset, batch_size, seed=0, shuffle=False, buckets=widths)

    def __str__(self) -> str:
        names = ", ".join(self.label_names[:20])
        lines = [f"{len(self.label_names)} classes: {names}" if names else "labels are numbers"]
        lines += [f"{name}: {len(part)} texts, {part.tokens}" for name, part in self.parts.items()]
        if self.shared:
            lines.append(f"{self.shared} texts of the test part are in the training part too")
        cut = "cut nowhere" if self.max_length is None else f"cut at {self.max_length}"
        direction = ", read backward" if self.facts.backward else ""
        lines.append(f"tokens: {self.tokenizer}, {cut}{direction}")
        lines.append(f"widths of batches: {', '.join(map(str, self.buckets))}")
        if self.figures:
            lines.append(f"metrics of a whole part: {', '.join(self.figures)}")
        return "\n".join(lines)


def text_classification(
    spec: str,
    *,
    tokenizer: Tokenizer,
    facts: TextFacts | None = None,
    options: TextOptions | None = None,
    train_split: str = "",
    validation: str = "10%",
    test_split: str = "",
    classes: tuple[str, ...] = (),
    examples_per_class: int = 0,
    examples: int = 0,
    max_length: int = 0,
    buckets: tuple[int, ...] = (),
    metrics: tuple[str, ...] = (),
    smoothing: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> TextTask:
    """Makes a task of a dataset of texts or pairs, with classes or one number as labels.

    Args:
        spec: The dataset, as for `tlearn.data.open_texts`.
        tokenizer: Makes tokens of the texts: the source's own.
        facts: What the body can take; by default whatever the tokenizer gives.
        options: Columns, and whether labels are classes or numbers.
        train_split: Split expression of the training texts; empty for ``train``, or for all where
            the dataset has one split only.
        validation: Share carved from them (``"10%"``, stratified), a split expression, or ``"0%"``
            for none.
        test_split: Split expression of what is reported; empty for none.
        classes: Label names to keep; all if empty.
        examples_per_class: Training texts per class, drawn by the seed; 0 for all.
        examples: Training texts in all, drawn by the seed, classes in their shares; 0 for all.
        max_length: Where longer texts are cut, in tokens with the special ones; 0 cuts none, and
            refuses texts that are longer than the body can take.
        buckets: Widths of batches in rising order; chosen by the training texts if empty.
        metrics: Figures of whole parts, see `check_metrics`; a GLUE task's own if empty.
        smoothing: Label smoothing of classes.
        seed: Of subsets.
        progress: Called with (texts made tokens, texts of the part).

    Raises:
        DataError: If anything about the data, the tokenizer or the lengths does not fit; train and
            test sharing texts too.
    """
    facts = facts or TextFacts(
        vocab_size=tokenizer.size, pad=tokenizer.token("pad"), pair_types=True
    )
    _check_tokenizer(tokenizer, facts, max_length)
    options = options or TextOptions()

    def part(split: str) -> Dataset:
        dataset = open_texts(spec, split or None, options)
        return select_classes(dataset, classes) if classes else dataset

    splits = list(text_splits(spec, None, options))
    train_split = train_split or (splits[0] if len(splits) == 1 else "train")
    train = _occurring(part(train_split))
    names = tuple(train.label_names)
    # The training labels say what kind the others are.
    options = dataclasses.replace(options, labels="class" if names else "number")
    held: Dataset | None = None
    share = read_share(validation)
    if share is None:
        held = part(validation)
    elif share:
        train, held = carve_validation(train, fraction=share, seed=seed)
    train = draw(train, examples_per_class=examples_per_class, examples=examples, seed=seed)
    test = part(test_split) if test_split else None
    if len(names) == 1:
        raise DataError(f"{spec} with one class ({names[0]}) leaves nothing to tell apart")
    if names:
        held, test = (None if other is None else aligned(other, names) for other in (held, test))
    shared = 0 if test is None else overlap(train, test).repeated
    if test is not None and shared > len(test) * LARGEST_OVERLAP:
        raise DataError(
            f"{shared} of the {len(test)} texts to be reported ({test_split}) are also trained on "
            f"({train_split}); use splits that do not overlap"
        )
    if smoothing and not names:
        raise DataError(f"smoothing {smoothing}: labels that are numbers are not smoothed")
    usual = GLUE.get(glue_name(spec), ()) if names else NUMBERS
    figures = check_metrics(metrics or (() if usual == NUMBERS and names else usual), names)
    made = {
        name: tokenise(
            each,
            tokenizer,
            max_length=max_length or None,
            types=facts.pair_types,
            backward=bool(facts.backward),
            progress=progress,
        )
        for name, each in (("train", train), ("validation", held), ("test", test))
        if each is not None
    }
    _check_lengths(made, facts)
    one = TextBatches(made["train"], 1, seed=0, shuffle=False, buckets=buckets)
    return TextTask(
        train=made["train"],
        validation=made.get("validation"),
        test=made.get("test"),
        facts=facts,
        tokenizer=tokenizer,
        goal=Classification(len(names), smoothing) if names else Regression(),
        max_length=max_length or None,
        buckets=one.buckets,
        figures=figures,
        shared=shared,
    )


def _occurring(dataset: Dataset) -> Dataset:
    """Leaves out label names that no example has: a head has no output for them."""
    if not dataset.label_names:
        return dataset
    counts = np.bincount(labels_of(dataset), minlength=len(dataset.label_names))
    there = tuple(n for n, count in zip(dataset.label_names, counts, strict=True) if count)
    return dataset if there == tuple(dataset.label_names) else select_classes(dataset, there)


def _check_tokenizer(tokenizer: Tokenizer, facts: TextFacts, max_length: int) -> None:
    """Refuses a tokenizer whose numbers the body has no rows for, or that means others by them."""
    problems = []
    if tokenizer.size > facts.vocab_size:
        problems.append(
            f"the tokenizer numbers its tokens up to {tokenizer.size - 1}, the body has rows for "
            f"{facts.vocab_size}: they do not belong together"
        )
    known = dict(tokenizer.special)
    for name, number in (*facts.special, *(() if facts.pad is None else (("pad", facts.pad),))):
        if known.get(name, number) != number:
            problems.append(
                f"the {name} token is {known[name]} to the tokenizer and {number} to the body"
            )
    if facts.max_length is not None and max_length > facts.max_length:
        problems.append(
            f"max_length {max_length} is beyond the {facts.max_length} positions of the body"
        )
    if problems:
        raise DataError("the tokenizer does not fit the body:\n  " + "\n  ".join(problems))


def _check_lengths(parts: Mapping[str, TokenDataset], facts: TextFacts) -> None:
    """Refuses texts that are longer than the body's position table."""
    limit = facts.max_length
    if limit is None:
        return
    problems = []
    for name, part in parts.items():
        beyond = int(np.sum(part.tokens.lengths > limit))
        if beyond:
            longest = int(part.tokens.lengths.max())
            problems.append(f"{name}: {beyond} of {len(part)}, the longest has {longest} tokens")
    if problems:
        raise DataError(
            f"texts longer than the {limit} positions of the body; say max_length={limit} to cut "
            "them:\n  " + "\n  ".join(problems)
        )
