"""The quickstart's source: a small residual network pre-trained on half of the digits."""

from pathlib import Path
from typing import Any

import numpy as np

STEPS, BATCH, SEED = 300, 64, 0
BODY = {"stage_blocks": (1, 1, 1), "stage_widths": (16, 32, 64), "stem_width": 16}


def orientations(dataset: Any) -> Any:
    """Every picture in its 8 orientations (4 turns, mirrored or not), each a class of its own.

    Five classes alone teach a network little more than to tell five shapes apart; asking for the
    orientation as well makes it keep what it sees (Gidaris et al. 2018; Lee et al. 2020).
    """
    from tlearn.data import ArrayDataset, labels_of

    images = np.stack([dataset[i]["image"] for i in range(len(dataset))])
    labels = labels_of(dataset)
    views, classes = [], []
    for turn in range(4):
        for mirrored in range(2):
            seen = images[:, :, ::-1] if mirrored else images
            views.append(np.rot90(seen, turn, axes=(1, 2)))
            classes.append(labels * 8 + turn * 2 + mirrored)
    names = [
        f"{name} turned {90 * turn}°{' mirrored' if mirrored else ''}"
        for name in dataset.label_names
        for turn in range(4)
        for mirrored in range(2)
    ]
    return ArrayDataset(
        np.ascontiguousarray(np.concatenate(views)),
        np.concatenate(classes).astype(np.int32),
        names,
        name="digits in 8 orientations",
    )


def train_source(classes: tuple[str, ...], folder: Path, say: Any) -> Any:
    """Pre-trains the source and leaves it in a folder, ready for ``--source run:FOLDER``.

    Args:
        classes: Label names of the digits to learn.
        folder: Where the model goes.
        say: Told how it went.

    Returns:
        The source (`tlearn.hub.Source`).
    """
    import jax
    import jax.numpy as jnp

    from tlearn import hub
    from tlearn.bodies import ImageFacts, create, describe
    from tlearn.data import Batches, open_dataset, select_classes, train_pipeline
    from tlearn.heads import Linear
    from tlearn.heads import describe as describe_head
    from tlearn.model import Model, initialise
    from tlearn.objectives import Classification
    from tlearn.runs.console import Console
    from tlearn.train.loop import Program, fit, timeline
    from tlearn.train.random import stream
    from tlearn.train.schedules import Cosine
    from tlearn.train.state import SourceWeights, init
    from tlearn.train.step import Recipe
    from tlearn.transfer.optimizer import adamw
    from tlearn.transfer.plan import plan
    from tlearn.transfer.strategy import Strategy

    facts = ImageFacts(mean=(0.5,), std=(0.5,), size=8, channels=1)
    dataset = orientations(select_classes(open_dataset("digits", "train"), classes))
    pipeline = train_pipeline(
        mean=facts.mean, std=facts.std, size=facts.size, crop="random", padding=1
    )
    batches = Batches(dataset, pipeline, BATCH, seed=SEED, shuffle=True)
    model = Model(
        create("resnet20", **BODY, in_channels=1),
        Linear(len(dataset.label_names), kernel_init="scaled"),
    )
    key = jax.random.key(SEED)
    params, collections = initialise(
        model, stream(key, "init"), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    )
    rows = plan(params, Strategy(), layers=model.body.layer_names, fresh=frozenset(params))
    say(f"   source: {rows.summary()}")
    optimizer = adamw(1e-2, Cosine(warmup="10%"))
    program = Program(
        model,
        (rows,),
        Classification(len(dataset.label_names)),
        Recipe(optimizer=optimizer),
        timeline((rows,), steps_per_epoch=batches.steps_per_epoch, steps=STEPS),
    )
    state = init(rows, params, collections, optimizer, total=STEPS, key=stream(key, "run"))
    console = Console(STEPS, title="source")
    placed = ({n: jnp.array(v) for n, v in batches.at(i).items()} for i in range(STEPS))
    for moved, event in fit(program, state, placed, SourceWeights(), report_every=50):
        state = moved
        if event is not None:
            console.step(event.step)
            console.write("train", event.step, {"accuracy": event.metrics["accuracy"]})
    console.close()
    source = hub.Source(
        params={path: np.asarray(value) for path, value in state.params.items()},
        collections={path: np.asarray(value) for path, value in state.collections.items()},
        body=describe(model.body),
        head=describe_head(model.head),
        label_names=tuple(dataset.label_names),
        facts=facts,
        provenance={"trained_by": "tlearn quickstart", "data": dataset.digest, "seed": SEED},
    )
    hub.save_model(folder, source)
    return source
