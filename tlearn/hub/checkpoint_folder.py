"""Folders as Hugging Face and timm lay them out: config.json, weights in one file or in shards."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.hub.carried_files import inside
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.json_file import read_json
from tlearn.hub.raw import RawFile
from tlearn.hub.safetensors_file import read_safetensors
from tlearn.hub.tables.folders import plain_family
from tlearn.hub.torch_file import read_torch
from tlearn.params import nearest

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of weight files, the preferred first."""

CARRIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
"""What belongs to the weights and travels with them."""

_FOREIGN = {
    "tf_model.h5": "Keras weights of TensorFlow",
    "flax_model.msgpack": "Flax weights",
    "rust_model.ot": "weights for Rust",
    "adapter_model.safetensors": "an adapter without its base model",
}
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_CARRIED_LIMIT = 64 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class CheckpointFolder:
    """A folder's content, without any knowledge of models.

    Attributes:
        path: The folder.
        config: Its config.json.
        arrays: Arrays by foreign name, views of the mapped files where their layout allows.
        weights: The files they lie in.
        format: Format of those files.
        aside: Plain values beside the arrays.
        files: Tokenizer and preprocessor files by name.
    """

    path: Path
    config: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    weights: tuple[Path, ...]
    format: str
    aside: Mapping[str, Any]
    files: Mapping[str, bytes]


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a folder looks like a checkpoint's and not like a run's."""
    if not (path / CONFIG).is_file():
        return False
    try:
        config = read_json(path / CONFIG)
    except HubError:
        # To be told why by the reader.
        return any((path / name).is_file() for name in WEIGHTS)
    named = "model_type" in config or "architecture" in config
    return named or plain_family(config) is not None


def read_folder(folder: str | Path) -> CheckpointFolder:
    """Reads a checkpoint folder; not one weight is touched yet.

    Raises:
        HubError: If the config, the index or a weight file is absent or unsound, naming every
            missing shard, every shard outside the folder, and every array that is not where the
            index says.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        raise HubError(
            f"there is no folder {path}" + (f"; nearest: {', '.join(close)}" if close else "")
        )
    if not (path / CONFIG).is_file():
        raise HubError(f"{path} has no {CONFIG}; it holds {_held(path)}")
    config = read_json(path / CONFIG)
    name = _weights_name(path)
    torch = name.startswith("pytorch") or name.endswith((".bin", ".pt", ".pth"))
    reader = read_torch if torch else read_safetensors
    if name.endswith(".index.json"):
        shards, raws = _shards(path, name, reader)
    else:
        shards, raws = [path / name], [reader(path / name)]
    return CheckpointFolder(
        path=path,
        config=config,
        arrays={key: array for raw in raws for key, array in raw.arrays.items()},
        weights=tuple(shards),
        format=raws[0].format if raws else "safetensors",
        aside={key: value for raw in raws for key, value in raw.aside.items()},
        files=carried_files(path),
    )


def carried_files(path: Path) -> dict[str, bytes]:
    """Reads the tokenizer and preprocessor files of a folder.

    Raises:
        HubError: If one is unreadable, or larger than any such file is.
    """
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for name in CARRIED:
        file = path / name
        if not file.is_file():
            continue
        try:
            if file.stat().st_size > _CARRIED_LIMIT:
                problems.append(f"{name} has {file.stat().st_size} bytes: no tokenizer is so large")
            else:
                found[name] = file.read_bytes()
        except OSError as error:
            problems.append(f"{name} cannot be read: {error}")
    if problems:
        raise HubError(f"{path} is no sound checkpoint folder:\n{listed(problems)}")
    return found


def _weights_name(path: Path) -> str:
    for name in WEIGHTS:
        if (path / name).is_file():
            return name
    if any(path.glob("*.ckpt*.index")) or (path / "saved_model.pb").is_file():
        raise HubError(f"{path} holds a TensorFlow checkpoint: load it with 'tf:{path}'")
    for name, what in _FOREIGN.items():
        if (path / name).is_file():
            raise HubError(
                f"{path} holds only {name}, {what}, which are not read here; save the model as "
                "model.safetensors there"
            )
    broken = [name for name in WEIGHTS if (path / name).is_symlink()]
    if broken:
        raise HubError(f"{path}/{broken[0]} is a link to a file that is gone: fetch it again")
    others = [p.name for p in sorted(path.iterdir()) if p.suffix in _SUFFIXES and p.is_file()]
    if len(others) == 1:
        return others[0]
    raise HubError(
        f"{path} has no weights: one of {list(WEIGHTS)} is wanted, or exactly one file ending in "
        f"{', '.join(_SUFFIXES)}; it holds {_held(path)}"
    )


def _held(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())[:10]


def _shards(
    path: Path, index_name: str, reader: Callable[[Path], RawFile]
) -> tuple[list[Path], list[RawFile]]:
    """Reads all shards of an index, after checking every name in it."""
    index = read_json(path / index_name)
    places = index.get("weight_map")
    sound = isinstance(places, dict) and all(isinstance(v, str) for v in places.values())
    if not sound or not places:
        raise HubError(f"{path / index_name} has no weight_map of names to files")
    wanted: dict[str, set[str]] = {}
    for name, shard in places.items():
        wanted.setdefault(shard, set()).add(name)
    problems: list[str] = []
    for shard in sorted(wanted):
        if not inside(shard):
            problems.append(f"the shard {quoted(shard)} lies outside the folder")
        elif not (path / shard).is_file():
            problems.append(f"the shard {quoted(shard)} is missing ({len(wanted[shard])} arrays)")
    raws: list[RawFile] = []
    if not problems:
        seen: set[str] = set()
        for shard, names in sorted(wanted.items()):
            try:
                raw = reader(path / shard)
            except HubError as error:
                problems.append(str(error))
                continue
            raws.append(raw)
            for name in sorted(names - raw.arrays.keys()):
                problems.append(f"{quoted(name)} is not in {shard}, where the index has it")
            for name in sorted(raw.arrays.keys() - names):
                twice = " a second time" if name in seen or name in places else ""
                problems.append(
                    f"{shard} holds {quoted(name)}{twice}, which the index does not say"
                )
            seen |= raw.arrays.keys()
    if problems:
        raise HubError(f"{path / index_name} does not fit its folder:\n{listed(problems)}")
    return [path / shard for shard in sorted(wanted)], raws
