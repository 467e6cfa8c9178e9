"""The task of a run whose data is not here, for what it would cost."""

from tlearn import bodies, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.runs.config import RunConfig
from tlearn.runs.examples import augmentation, body_inputs, framing
from tlearn.runs.parts import new_body
from tlearn.runs.text_bodies import positions
from tlearn.tasks import Task
from tlearn.tasks.planned import planned_images, planned_texts


def planned_task(config: RunConfig, source: hub.Source | None) -> Task:
    """What `tlearn.runs.examples.make_task` makes of data, made of its numbers.

    Raises:
        ValueError: If the numbers cannot be read, or nothing says how large an example is.
    """
    data = config.data
    facts = None if source is None else source.facts
    shares = {
        "validation": data.validation,
        "classes": data.classes,
        "examples_per_class": data.per_class,
        "smoothing": config.head.smoothing,
    }
    if "tokens" not in body_inputs(config, source):
        return planned_images(
            data.data,
            facts=facts if isinstance(facts, ImageFacts) else None,
            augment=augmentation(data),
            framing=framing(data),
            **shares,
        )
    if not isinstance(facts, TextFacts):
        body = bodies.build(dict(source.body)) if source else new_body(config, {})
        facts = TextFacts(vocab_size=body.vocab_size, max_length=positions(body))
    width = data.max_length or facts.max_length
    if not width:
        raise ValueError(f"{data.data}: nothing says how long texts are; name it by --max-length")
    return planned_texts(data.data, facts=facts, width=width, **shares)
