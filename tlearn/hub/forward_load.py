"""Exported forward functions, loaded and called without the code of the model."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.carried_files import read_files
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.json_file import read_json
from tlearn.hub.raw import existing_file, file_sha256
from tlearn.hub.safetensors_file import read_safetensors
from tlearn.hub.source import facts_from_json, labels_from_json
from tlearn.params import nearest

FUNCTION, WEIGHTS, ABOUT = "forward.stablehlo", "weights.safetensors", "forward.json"
"""The files of an exported forward function."""
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of an exported function.

    Attributes:
        name: Its name in a batch.
        dtype: Its type.
        shape: Its sizes; a name stands for any size, the same wherever it stands.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Forward:
    """A forward function with its weights: call it with a batch.

    Attributes:
        inputs: What a batch must hold.
        platforms: What it was lowered for.
        label_names: What the outputs mean, where it is known.
        facts: How pictures or texts were prepared, where it is known.
        files: Tokenizer files by name.
        about: All that is written beside it.
    """

    inputs: tuple[Input, ...]
    platforms: tuple[str, ...]
    label_names: tuple[str, ...] | None
    facts: ImageFacts | TextFacts | None
    files: Mapping[str, bytes]
    about: Mapping[str, Any] = dataclasses.field(repr=False)
    _program: Any = dataclasses.field(repr=False)
    _arrays: Mapping[str, np.ndarray] = dataclasses.field(repr=False)

    @functools.cached_property
    def weights(self) -> dict[str, Any]:
        """The weights by name, on the device."""
        import jax

        return {name: jax.device_put(np.array(array)) for name, array in self._arrays.items()}

    @functools.cached_property
    def _call(self) -> Any:
        import jax

        return jax.jit(self._program.call)

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        """Computes the outputs of a batch; entries that are no inputs are left alone.

        Raises:
            HubError: Naming every input that is absent, or of a shape or type that does not fit.
        """
        return self._call(self.weights, *self._checked(batch))

    def _checked(self, batch: Mapping[str, Any]) -> list[np.ndarray]:
        problems: list[str] = []
        sizes: dict[str, int] = {}
        found: list[np.ndarray] = []
        for put in self.inputs:
            wanted = f"{put.dtype} [{', '.join(map(str, put.shape))}]"
            if put.name not in batch:
                close = nearest(put.name, batch, 1)
                hint = f" (nearest: {close[0]!r})" if close else ""
                problems.append(f"{put.name!r} is missing{hint}: {wanted} is wanted")
                continue
            value = np.asarray(batch[put.name])
            if not np.can_cast(value.dtype, put.dtype, "same_kind"):
                problems.append(f"{put.name!r} has the type {value.dtype}, {wanted} is wanted")
            elif len(value.shape) != len(put.shape) or any(
                size != (sizes.setdefault(name, size) if isinstance(name, str) else name)
                for size, name in zip(value.shape, put.shape, strict=True)
            ):
                problems.append(f"{put.name!r} has the shape {value.shape}, {wanted} is wanted")
            else:
                found.append(value.astype(put.dtype))
        if problems:
            raise HubError(f"this batch does not fit the function:\n{listed(problems)}")
        return found


def load_exported(folder: str | Path) -> Forward:
    """Loads what `export_forward` wrote.

    Raises:
        HubError: If a file is absent, altered or unsound, or this machine's platform is not among
            those it was lowered for.
    """
    from jax import export

    place = Path(folder).expanduser()
    if not (place / ABOUT).is_file():
        raise HubError(
            f"{place} holds no exported function: {ABOUT} is missing; write one by "
            "tlearn export RUN --format stablehlo"
        )
    about = read_json(place / ABOUT)
    if about.get("format") != FORMAT:
        raise HubError(
            f"{place} has the format {quoted(about.get('format'))}; this version reads {FORMAT}"
        )
    digests = about.get("sha256")
    for name in (FUNCTION, WEIGHTS):
        stored = file_sha256(existing_file(place / name))
        if not isinstance(digests, dict) or digests.get(name) != stored:
            raise HubError(f"{place / name} is not the file that was exported: its SHA-256 differs")
    try:
        inputs = tuple(
            Input(str(put["name"]), str(np.dtype(put["dtype"])), tuple(put["shape"]))
            for put in about["inputs"]
        )
        platforms = tuple(str(name) for name in about["platforms"])
        labels, facts = labels_from_json(about["label_names"]), facts_from_json(about["facts"])
    except (KeyError, TypeError) as error:
        raise HubError(f"{place / ABOUT} does not describe a function: {error}") from error
    here = export.default_export_platform()
    if here not in platforms:
        raise HubError(
            f"{place} was lowered for {', '.join(platforms)}, and this is {here}: export it again "
            f"with --platforms {' '.join((*platforms, here))}"
        )
    try:
        program = export.deserialize(bytearray((place / FUNCTION).read_bytes()))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise HubError(
            f"{place / FUNCTION} cannot be read by this version of JAX (it was written by "
            f"{quoted(about.get('jax'))}): {str(error)[:200]}"
        ) from error
    return Forward(
        inputs=inputs,
        platforms=platforms,
        label_names=labels,
        facts=facts,
        files=read_files(place, about.get("files", {})),
        about=about,
        _program=program,
        _arrays=read_safetensors(place / WEIGHTS).arrays,
    )
