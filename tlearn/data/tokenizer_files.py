"""The files of a checkpoint's tokenizer, in whichever of the usual forms."""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlearn.data.errors import DataError

FILES = (
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
)
"""Files that make up tokenizers."""
_PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_UNBOUNDED = 10**9
"""Greatest lengths above this mean that there is none."""
_PURPOSES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def read_tokenizer(
    files: Mapping[str, bytes], lowercase: bool | None
) -> tuple[str, tuple[tuple[str, int], ...], int | None]:
    """Reads a tokenizer out of its files: definition, special tokens, greatest length.

    Raises:
        DataError: If there is none among them, or it cannot be read.
    """
    config = _json(files, "tokenizer_config.json")
    if "tokenizer.json" in files:
        definition = _own(files["tokenizer.json"], config)
    elif "vocab.txt" in files:
        definition = _word_pieces(files["vocab.txt"], config, lowercase)
    elif {"vocab.json", "merges.txt"} <= set(files) or any(name in files for name in _PIECES):
        definition = _converted(files, config)
    else:
        there = ", ".join(sorted(files)) or "no files"
        raise DataError(
            "the checkpoint carries no tokenizer: expected tokenizer.json, vocab.txt, vocab.json "
            f"with merges.txt, or spiece.model; there is {there}. Put its files beside its weights"
        )
    length = config.get("model_max_length")
    if not isinstance(length, int | float) or not 0 < length < _UNBOUNDED:
        length = None
    special = _special(files, config, definition)
    return definition, special, None if length is None else int(length)


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    try:
        value = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name}: holds a {type(value).__name__}, expected an object")
    return value


def _own(data: bytes, config: Mapping[str, Any]) -> str:
    """A tokenizer.json, less the length and padding it was last used with."""
    value = _json({"tokenizer.json": data}, "tokenizer.json")
    value["truncation"] = value["padding"] = None
    normalizer = value.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        # Where the two files differ the config counts, as it does for transformers.
        for ours, theirs in (
            ("do_lower_case", "lowercase"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
            ("strip_accents", "strip_accents"),
        ):
            if ours in config:
                normalizer[theirs] = config[ours]
    return _checked(json.dumps(value), "tokenizer.json")


def _checked(definition: str, what: str) -> str:
    from tokenizers import Tokenizer as Backend

    try:
        return Backend.from_str(definition).to_str()
    except Exception as error:  # The package raises bare exceptions.
        raise DataError(f"{what}: no tokenizer: {error}") from error


def _word_pieces(data: bytes, config: Mapping[str, Any], lowercase: bool | None) -> str:
    """BERT's vocabulary, a word piece a line.

    Devlin et al. 2019, https://arxiv.org/abs/1810.04805, §3 and the released tokenization.
    """
    from tokenizers import BertWordPieceTokenizer

    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"vocab.txt: not UTF-8: {error}") from error
    pieces = [line.removesuffix("\r") for line in lines]
    pieces = pieces[:-1] if not pieces[-1] else pieces
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    absent = [name for name in ("[UNK]", "[SEP]", "[CLS]", "[PAD]") if name not in vocabulary]
    if absent:
        raise DataError(f"vocab.txt: lacks {', '.join(absent)}, so it is no vocabulary of BERT's")
    if "do_lower_case" in config:
        lowercase = bool(config["do_lower_case"])
    if lowercase is None:
        # A vocabulary with capitals is of no use to a tokenizer that lowers them.
        capital = re.compile(r"[A-Z]")
        lowercase = not any(capital.search(p) for p in pieces if not p.startswith("["))
    made: Any = BertWordPieceTokenizer(
        vocabulary,
        lowercase=lowercase,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
    )
    return _checked(made.to_str(), "vocab.txt")


def _converted(files: Mapping[str, bytes], config: Mapping[str, Any]) -> str:
    """Vocabularies that transformers turns into a fast tokenizer, from a folder of their own."""
    import transformers

    pieces = [name for name in _PIECES if name in files]
    if not config.get("tokenizer_class"):
        config = {**config, "tokenizer_class": _guessed_class(files)}
    with tempfile.TemporaryDirectory() as place:
        for name in FILES:
            if name in files:
                (Path(place) / name).write_bytes(files[name])
        (Path(place) / "tokenizer_config.json").write_text(json.dumps(config))
        try:
            made: Any = transformers.AutoTokenizer.from_pretrained(place)
            definition = made.backend_tokenizer.to_str()
        except Exception as error:  # Whatever a broken vocabulary makes it raise.
            fix = "; install the package sentencepiece" if pieces else ""
            raise DataError(
                f"{', '.join(pieces) or 'vocab.json and merges.txt'}: cannot be made a tokenizer"
                f"{fix}, or put the checkpoint's tokenizer.json beside it: {error}"
            ) from error
    return _own(definition.encode(), {})


def _guessed_class(files: Mapping[str, bytes]) -> str:
    """The tokenizer's class by what its vocabulary holds, where no file names it."""
    if "vocab.json" not in files:
        return "T5Tokenizer"
    vocabulary = _json(files, "vocab.json")
    if "<mask>" in vocabulary and "<s>" in vocabulary:
        return "RobertaTokenizer"
    return "OpenAIGPTTokenizer" if any(p.endswith("</w>") for p in vocabulary) else "GPT2Tokenizer"


def _special(
    files: Mapping[str, bytes], config: Mapping[str, Any], definition: str
) -> tuple[tuple[str, int], ...]:
    """Numbers of the special tokens that the files name, or that BERT's vocabulary has."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(definition)
    named = {**_json(files, "special_tokens_map.json"), **config}
    bare = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    found = []
    for purpose in _PURPOSES:
        value = named.get(f"{purpose}_token")
        text = value.get("content") if isinstance(value, dict) else value
        number = backend.token_to_id(text or bare.get(purpose, ""))
        if number is not None:
            found.append((purpose, number))
    return tuple(found)
