"""What a body forgets of its source's own task while it learns labels.

The source was a language model: its own head is asked above its own body before, and above the
body that was trained after.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.data import Tokenizer
from tlearn.data.token_store import TokenStore
from tlearn.model import Model
from tlearn.params import FlatParams
from tlearn.replaced import joined
from tlearn.runs.config import RunConfig
from tlearn.runs.corpora import Progress, judged_on, store_of
from tlearn.runs.language_scoring import score_rows, scores_texts, scoring_task
from tlearn.runs.objective_config import SOURCE
from tlearn.tasks.language import LanguageTask
from tlearn.train.evaluate import EvalStep, Evaluation, make_eval_step

_BEYOND = ("body/decoder_", "body/pooler/")
"""What of a source's body a body for labels may lack: what it has of these is the source's."""


@dataclasses.dataclass(frozen=True, eq=False)
class SourceTask:
    """A corpus, and the source's model with what of its weights no run moves.

    Attributes:
        model: The source's body and its own head.
        task: The corpus as rows, as the source's own run had them.
        weights: The source's parameters, still in their files.
    """

    model: Model
    task: LanguageTask
    weights: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Fingerprint of the corpus's tokens."""
        return self.task.train.digest

    @functools.cached_property
    def _step(self) -> EvalStep:
        # Compiled once, however often and of however many runs it is asked.
        return make_eval_step(self.model, self.task.objective, self.task.kept)

    def measure(
        self,
        params: Mapping[str, Any],
        batch_size: int,
        *,
        without: Collection[str] = (),
        place: Callable[[dict[str, np.ndarray]], Any] = dict,
    ) -> Evaluation:
        """Evaluates the source's head above a run's body.

        Args:
            params: The run's parameters; of its body those are taken that the source has too.
            batch_size: Rows at a time.
            without: Paths of what is none of the source's, where the source itself is measured.
            place: Puts a batch on the devices.
        """
        body = {p: v for p, v in params.items() if p.startswith("body/") and p not in without}
        whole: FlatParams = {
            path: body[path] if path in body else jnp.asarray(np.asarray(value))
            for path, value in self.weights.items()
        }
        return score_rows(
            self.model, self.task, whole, {}, batch_size=batch_size, step=self._step, place=place
        )

    def __str__(self) -> str:
        kinds = " and ".join(self.task.rows.kinds)
        return f"what may be forgotten: {kinds} by the source's own head on {self.task.train}"


def source_task(
    config: RunConfig, like: Mapping[str, Any], progress: Progress | None = None
) -> SourceTask | None:
    """Opens what a run for labels is to remember; None if it asks for nothing.

    Args:
        config: The run.
        like: Its parameters by path, as shapes.
        progress: Called with (documents done, 0) while tokens of a corpus are made.

    Raises:
        ValueError: If the source has no head that predicts parts of texts, the run's body is
            another one than the source's, or the corpus cannot be read.
    """
    asked = config.objective
    if asked.objective != "labels" or not asked.remember:
        return None
    return asked_source(config, like, progress)


def asked_source(
    config: RunConfig, like: Mapping[str, Any], progress: Progress | None = None
) -> SourceTask:
    """The same for a run that is known to be for labels, and to ask; arguments and errors too."""
    asked = config.objective
    source = hub.load(config.source, read=False)
    if not scores_texts(source):
        found = (source.head or {}).get("family", "none")
        raise ValueError(
            f"remember={asked.remember} beside labels is measured by the source's own head for "
            f"parts of texts, and the head of {config.source} is {found}: name a source that was "
            "pre-trained on a corpus and carries its head, or leave remember out"
        )
    _check_body(config, source, like)
    model = joined(bodies.build(dict(source.body)), heads.build(dict(source.head or {})))

    def opened(rows: RunConfig, tokenizer: Tokenizer) -> TokenStore:
        if asked.remember == SOURCE:
            return judged_on(config, source, tokenizer)
        return store_of(rows, asked.remember, tokenizer, None, "", progress)

    task = scoring_task(
        source, model.body, opened, tokenizer=config.body.tokenizer, stores=asked.stores
    )
    return SourceTask(model, task, dict(source.params))


def _check_body(config: RunConfig, source: hub.Source, like: Mapping[str, Any]) -> None:
    """Refuses a body that the source's head could not be put on as it was."""
    body = {path: value for path, value in source.params.items() if path.startswith("body/")}
    lacking = [p for p in body if p not in like and not p.startswith(_BEYOND)]
    other = [p for p in body if p in like and tuple(like[p].shape) != tuple(body[p].shape)]
    if lacking or other:
        raise ValueError(
            f"remember={config.objective.remember} asks the source's own head, and the body of "
            f"this run is another one than that of {config.source} ({', '.join(lacking[:3])} "
            f"missing, {', '.join(other[:3])} of another shape): leave settings or remember out"
        )
