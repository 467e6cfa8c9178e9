"""The task of a run whose data is not here, for what it would cost."""

from typing import Any

from tlearn import bodies, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.runs.config import RunConfig
from tlearn.runs.examples import augmentation, body_inputs, check_direction, framing
from tlearn.runs.parts import new_body, unpooled
from tlearn.runs.text_bodies import directed, positions
from tlearn.tasks import Task
from tlearn.tasks.planned import planned_images, planned_texts


def planned_task(config: RunConfig, source: hub.Source | None) -> Task:
    """What `tlearn.runs.examples.make_task` makes of data, made of its numbers.

    Raises:
        ValueError: If the numbers cannot be read, or nothing says how large an example is.
    """
    data = config.data
    if config.objective.objective != "labels":
        return _corpus(config, source)
    facts = None if source is None else source.facts
    shares = {
        "validation": data.validation,
        "classes": data.classes,
        "examples_per_class": data.per_class,
        "examples": data.labelled,
        "smoothing": config.head.smoothing,
    }
    if "tokens" not in body_inputs(config, source):
        check_direction(config)
        return planned_images(
            data.data,
            facts=facts if isinstance(facts, ImageFacts) else None,
            augment=augmentation(data),
            framing=framing(data),
            **shares,
        )
    if not isinstance(facts, TextFacts):
        facts = _facts(_body(config, source))
    facts = directed(config, facts)
    width = data.max_length or facts.max_length
    if not width:
        raise ValueError(f"{data.data}: nothing says how long texts are; name it by --max-length")
    return planned_texts(data.data, facts=facts, width=width, **shares)


def _corpus(config: RunConfig, source: hub.Source | None) -> Task:
    """What `tlearn.runs.corpora.language_task` makes of a corpus, made of its size."""
    from tlearn.runs.corpora import check_body, rows_of
    from tlearn.tasks.language import goal_of, head_of
    from tlearn.tasks.planned_corpus import marks_of, planned_corpus, sentinels_of

    asked = config.objective
    body = _body(config, source)
    facts = source.facts if source and isinstance(source.facts, TextFacts) else _facts(body)
    facts = directed(config, facts)
    check_body(config, body, facts, facts.vocab_size)
    marks, sentinels = marks_of(facts.vocab_size), sentinels_of(facts.vocab_size)
    penalties = {
        "activation_penalty": asked.activation_penalty,
        "change_penalty": asked.change_penalty,
    }
    return planned_corpus(
        config.data.data,
        rows=rows_of(config, body, facts, marks, sentinels),
        facts=facts,
        goal=goal_of(asked.objective, asked.also, **penalties),
        head=head_of(
            asked.objective,
            body,
            asked.also,
            penalised=any(value > 0 for value in penalties.values()),
            generator=asked.generator,
        ),
        batch_size=config.train.batch_size,
    )


def _body(config: RunConfig, source: hub.Source | None) -> Any:
    return bodies.build(dict(source.body)) if source else new_body(config, unpooled(config))


def _facts(body: Any) -> TextFacts:
    return TextFacts(vocab_size=body.vocab_size, max_length=positions(body), backward=None)
