"""Several runs asked as one: their class probabilities averaged, example by example.

Shapes: n examples, k classes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from tlearn.data import DataError
from tlearn.runs.reading import Selection
from tlearn.runs.use import load, score
from tlearn.train.evaluate import Evaluation

# Below the smallest probability that float32 logits give: a sure mistake stays a finite loss.
_LEAST = 1e-38


def ensemble(
    folders: Sequence[str | Path],
    selection: Selection,
    *,
    batch_size: int = 64,
    max_length: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Evaluates the mean of several runs' class probabilities on one dataset.

    Each run reads the examples in its own way: one may read texts forward and another backward, or
    with another tokenizer. Classes are matched by name.

    Args:
        folders: Run folders, or sources with a head; all of the same classes.
        selection: The examples.
        batch_size: Examples at a time.
        max_length: Where texts are cut, in tokens; 0 for what each body can take.
        say: Told what the figures should be read with.

    Returns:
        ``loss`` and ``accuracy`` of the mean, whose logarithms are the ``predictions`` [n k]; the
        order of classes is the first run's.

    Raises:
        DataError: If there are fewer than two runs, one of them is repeated, one estimates a
            number, or their classes differ; names all that do.

    Reference: Howard and Ruder 2018, section 4.1 (a forward and a backward model).
    """
    specs = [str(folder) for folder in folders]
    if len(specs) < 2 or len(set(specs)) < len(specs):
        raise DataError(f"an ensemble takes two runs or more, each once; got {', '.join(specs)}")
    names = [load(spec).label_names for spec in specs]
    _check(specs, names)
    total: np.ndarray | None = None
    labels: np.ndarray | None = None
    for spec, own in zip(specs, names, strict=True):
        found = score(spec, selection, batch_size=batch_size, max_length=max_length, say=say)
        place = [own.index(name) for name in names[0]]
        chances = probabilities(found.predictions)[:, place]
        truth = np.argsort(place)[found.labels]
        if labels is not None and not np.array_equal(labels, truth):
            raise DataError(f"{spec} and {specs[0]} read other examples of {selection.data}")
        total = chances if total is None else total + chances
        labels = truth
    if total is None or labels is None:
        raise DataError("no run was asked")
    return _judged(total / len(specs), labels)


def probabilities(logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Turns logits into probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    chances = np.exp(shifted)
    return chances / chances.sum(-1, keepdims=True)


def _check(specs: list[str], names: list[tuple[str, ...]]) -> None:
    problems = []
    for spec, own in zip(specs, names, strict=True):
        if not own:
            problems.append(f"{spec} estimates a number: only classes are averaged")
        elif set(own) != set(names[0]):
            odd = sorted(set(own) ^ set(names[0]))
            problems.append(
                f"{spec} and {specs[0]} do not know the same classes: {', '.join(odd[:10])}"
            )
    if problems:
        raise DataError("these runs cannot be asked together:\n  " + "\n  ".join(problems))


def _judged(mean: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Evaluation:
    logs = np.log(np.maximum(mean, _LEAST))
    loss = -float(logs[np.arange(len(labels)), labels].mean())
    accuracy = float(np.mean(mean.argmax(-1) == labels))
    return Evaluation(
        metrics={"loss": loss, "accuracy": accuracy},
        count=len(labels),
        predictions=logs.astype(np.float32),
        labels=labels,
    )
