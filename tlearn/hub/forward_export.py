"""The forward function itself, as StableHLO with its weights beside it: no model code to call it.

``forward.stablehlo`` is what ``jax.export`` writes. The weights are arguments, not constants of the
program: the program stays small, one file of weights serves all platforms, and other tools can read
it. `tlearn.hub.load_exported` puts the two together again.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.carried_files import write_files
from tlearn.hub.errors import HubError
from tlearn.hub.forward_load import ABOUT, FORMAT, FUNCTION, WEIGHTS, Input
from tlearn.hub.model_card import Training, model_card
from tlearn.hub.model_folder import read_run
from tlearn.hub.new_folder import new_folder, refuse_taken
from tlearn.hub.raw import file_sha256
from tlearn.hub.safetensors_file import write_safetensors
from tlearn.hub.source import Source, facts_to_json, tagged, untagged
from tlearn.params import nearest

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""What programs can be lowered for; none of it need be here."""
_FIXED_LENGTH = 128


def export_forward(
    source: Source | str | Path,
    folder: str | Path,
    *,
    platforms: Sequence[str] = ("cpu",),
    length: int = 0,
    training: Training | None = None,
) -> Path:
    """Writes the forward function of a model: StableHLO, weights, and what its inputs mean.

    The function takes batches of any size and, where the body's program allows it, texts of any
    length; it computes in float32, in evaluation mode. With a head it gives the head's outputs,
    without one the body's ``pooled`` and ``sequence`` features.

    Args:
        source: The model, or the folder of a run that has one.
        folder: Where to write: absent or empty.
        platforms: What to lower it for: of ``cpu``, ``cuda``, ``rocm``, ``tpu``.
        length: Tokens of every text; 0 for any number, where that works.
        training: What is on record of its training, for the model card.

    Returns:
        The folder.

    Raises:
        HubError: If a platform is unknown, the size of pictures is, the function cannot be
            exported, or the target holds something or cannot be written.
    """
    _check(platforms, length)
    if not isinstance(source, Source):
        source = read_run(str(source).removeprefix("run:"))
    target = Path(folder).expanduser()
    refuse_taken(target)
    weights = {
        name: np.asarray(array) for name, array in tagged(source.params, source.collections).items()
    }
    body, function = _function(source)
    program, inputs = _exported(source, body, function, weights, tuple(platforms), length)
    notes = _notes(inputs, platforms)
    card = model_card(source, name=target.name, form="stablehlo", training=training, notes=notes)
    with new_folder(target) as fresh:
        (fresh / FUNCTION).write_bytes(program.serialize())
        write_safetensors(fresh / WEIGHTS, weights, {"format": "tlearn"})
        about = _about(source, inputs, program)
        about["files"] = write_files(fresh, source.files)
        about["sha256"] = {name: file_sha256(fresh / name) for name in (FUNCTION, WEIGHTS)}
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        (fresh / ABOUT).write_text(text, encoding="utf-8")
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return target


def _check(platforms: Sequence[str], length: int) -> None:
    problems = []
    for name in platforms:
        if name not in PLATFORMS:
            close = nearest(name, PLATFORMS, 1)
            hint = f"; nearest: {close[0]!r}" if close else ""
            problems.append(f"{name!r} is no platform of {list(PLATFORMS)}{hint}")
    if not platforms:
        problems.append(f"no platform is named; choose of {list(PLATFORMS)}")
    if length < 0:
        problems.append(f"length is {length}; it must be at least 0 (any length)")
    if problems:
        raise HubError("; ".join(problems))


def _function(source: Source) -> tuple[Any, Callable[..., Any]]:
    """Builds the body, and the function of (weights, *inputs) that is exported."""
    from tlearn import bodies, heads
    from tlearn.model import Model, variables

    # Half precision and recomputation are for training; and no kernel may be chosen here that the
    # platforms it is lowered for do not have.
    fixed = {"dtype": "float32", "remat": False, "attention_form": "plain"}
    config = {**source.body, **{name: v for name, v in fixed.items() if name in source.body}}
    body = bodies.build(config)
    if source.head is not None:
        model = Model(body=body, head=heads.build(dict(source.head)))

        def outputs(weights: Mapping[str, Any], *inputs: Any) -> Any:
            return model.apply(variables(*untagged(weights)), *inputs, train=False)

        return body, outputs

    def features(weights: Mapping[str, Any], *inputs: Any) -> Any:
        flat = ({p.removeprefix("body/"): v for p, v in f.items()} for f in untagged(weights))
        found: Any = body.apply(variables(*flat), *inputs, train=False)
        kept = {"pooled": found.pooled, "sequence": found.sequence}
        return {name: value for name, value in kept.items() if value is not None}

    return body, features


def _exported(
    source: Source,
    body: Any,
    function: Callable[..., Any],
    weights: Mapping[str, np.ndarray],
    platforms: tuple[str, ...],
    length: int,
) -> tuple[Any, tuple[Input, ...]]:
    """Exports for any size of batch and any length, or else for one length."""
    import jax
    from jax import export

    shapes = {name: jax.ShapeDtypeStruct(v.shape, v.dtype) for name, v in weights.items()}
    longest = _longest(source)
    fixed = length or min(longest or _FIXED_LENGTH, _FIXED_LENGTH)
    refusal: Exception | None = None
    for tokens in (fixed,) if length else (0, fixed):
        inputs = _inputs(source, body, tokens)
        limits = [
            f"{size} <= {longest}"
            for size in ("t", "u")
            if longest and any(size in put.shape for put in inputs)
        ]
        scope = export.SymbolicScope(limits)
        given = [
            jax.ShapeDtypeStruct(
                export.symbolic_shape(", ".join(map(str, put.shape)), scope=scope), put.dtype
            )
            for put in inputs
        ]
        try:
            return export.export(jax.jit(function), platforms=platforms)(shapes, *given), inputs
        except (
            jax.errors.InconclusiveDimensionOperation,
            jax.errors.ConcretizationTypeError,
            TypeError,
            ValueError,
        ) as error:
            refusal = error
            if not any(isinstance(size, str) for put in inputs for size in put.shape[1:]):
                break
    raise HubError(
        f"the forward function of this {source.body['family']} body cannot be exported: "
        f"{str(refusal)[:300]}"
    ) from refusal


def _longest(source: Source) -> int | None:
    """Places in the position table; None if there is none."""
    places = source.body.get("positions")
    if isinstance(places, int) and places > 0:
        return places - int(source.body.get("position_offset") or 0)
    return source.facts.max_length if isinstance(source.facts, TextFacts) else None


def _inputs(source: Source, body: Any, length: int) -> tuple[Input, ...]:
    found = []
    for name in body.inputs:
        if name == "image":
            found.append(Input(name, "float32", ("b", *_picture(source))))
        else:
            own = "u" if name.startswith("decoder_") else "t"
            found.append(Input(name, "int32", ("b", length or own)))
    return tuple(found)


def _picture(source: Source) -> tuple[int, int, int]:
    facts, config = source.facts, source.body
    if isinstance(facts, ImageFacts):
        return facts.size, facts.size, facts.channels
    side = config.get("image_size")
    if not isinstance(side, int) or side < 1:
        raise HubError(
            "the weights do not say how large their pictures are: load them with facts=ImageFacts("
            "...) first"
        )
    return side, side, int(config.get("in_channels", 3))


def _notes(inputs: Sequence[Input], platforms: Sequence[str]) -> list[str]:
    notes = [
        f"input `{put.name}`: {put.dtype} [{', '.join(map(str, put.shape))}]" for put in inputs
    ]
    lengths = {put.shape[1] for put in inputs if put.dtype == "int32"}
    fixed = sorted(size for size in lengths if isinstance(size, int))
    if fixed:
        notes.append(f"texts have exactly {fixed[0]} tokens: pad shorter ones, with `segments` 0")
    return [*notes, f"lowered for {', '.join(platforms)}", "weights are arguments of the program"]


def _about(source: Source, inputs: Sequence[Input], program: Any) -> dict[str, Any]:
    import jax

    def told(value: Any) -> dict[str, Any]:
        shape = [size if isinstance(size, int) else str(size) for size in value.shape]
        return {"dtype": str(value.dtype), "shape": shape}

    outputs = jax.tree.unflatten(program.out_tree, [told(aval) for aval in program.out_avals])
    return {
        "format": FORMAT,
        "platforms": list(program.platforms),
        "jax": jax.__version__,
        "calling_convention": program.calling_convention_version,
        "arguments": "a dictionary of the weights by name, then the inputs in this order",
        "inputs": [dataclasses.asdict(put) for put in inputs],
        "outputs": outputs,
        "body": dict(source.body),
        "head": None if source.head is None else dict(source.head),
        "label_names": source.label_names,
        "facts": facts_to_json(source.facts),
        "licence": source.provenance.get("licence"),
    }
