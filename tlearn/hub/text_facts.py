"""Whether config, tokenizer files and body agree on texts: all disagreements at once."""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.json_file import parse_json
from tlearn.hub.sentencepiece_file import pieces

_PURPOSES = ("cls", "sep", "mask", "unk", "bos", "eos")
# transformers writes 10**30 where a tokenizer has no limit.
_NO_LIMIT = 10**9
_SPARE_ROWS = 128
_SPARE_SHARE = 0.005
"""Tables are padded to multiples of 64 or 128 rows, and a little more in large vocabularies."""


def vocabulary(files: Mapping[str, bytes]) -> dict[str, int] | None:
    """Reads which token has which number from a folder's tokenizer files.

    Args:
        files: Files by name: tokenizer.json, else vocab.txt, vocab.json or a SentencePiece model;
            added_tokens.json joins the last three.

    Returns:
        Numbers by token; None if there is no file that says.

    Raises:
        HubError: If a file is unsound.
    """
    if "tokenizer.json" in files:
        return _fast(parse_json(files["tokenizer.json"], "tokenizer.json"))
    found: dict[str, int] | None = None
    if "vocab.txt" in files:
        text = files["vocab.txt"].decode("utf-8", errors="replace")
        # Only line feeds part tokens: a token may be another kind of white space.
        lines = text.removesuffix("\n").split("\n")
        found = {line.removesuffix("\r"): number for number, line in enumerate(lines)}
    elif "vocab.json" in files:
        found = _numbers(parse_json(files["vocab.json"], "vocab.json"), "vocab.json")
    else:
        models = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
        model = next((name for name in models if name in files), None)
        # XLM-R's and CamemBERT's numbers are shifted against their SentencePiece model's.
        if model is not None and model != "sentencepiece.bpe.model":
            found = {piece: number for number, piece in enumerate(pieces(files[model], model))}
    if found is not None and "added_tokens.json" in files:
        added = parse_json(files["added_tokens.json"], "added_tokens.json")
        found |= _numbers(added, "added_tokens.json")
    return found


def _fast(content: dict[str, Any]) -> dict[str, int] | None:
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict):
        found = _numbers(vocab, "tokenizer.json")
    elif isinstance(vocab, list):
        # Unigram models list [piece, score] in the order of their numbers.
        found = {str(pair[0]): i for i, pair in enumerate(vocab) if isinstance(pair, list) and pair}
    else:
        raise HubError("tokenizer.json has no model with a vocab")
    for token in content.get("added_tokens") or ():
        if not isinstance(token, dict):
            raise HubError("tokenizer.json has added_tokens that are no objects")
        found |= _numbers({str(token.get("content")): token.get("id")}, "tokenizer.json")
    return found


def _numbers(vocab: Mapping[str, Any], name: str) -> dict[str, int]:
    wrong = [token for token, number in vocab.items() if type(number) is not int or number < 0]
    if wrong:
        raise HubError(f"{name} gives {quoted(wrong[0])} no number from 0 ({len(wrong)} such)")
    return dict(vocab)


def check_text(
    config: Mapping[str, Any],
    files: Mapping[str, bytes],
    body: Mapping[str, Any],
    known: TextFacts | None = None,
) -> tuple[TextFacts, list[str]]:
    """Gathers the facts of texts, and holds config, tokenizer and body against one another.

    Args:
        config: The checkpoint's config.json.
        files: Its tokenizer files.
        body: Full config of the body.
        known: What the family's description says; what it leaves open is filled in.

    Returns:
        The facts, and what was settled although it was not said: for provenance.

    Raises:
        HubError: Naming every contradiction: tokens without a row, rows without a token, special
            tokens outside the table, another padding token, a length beyond the position table.
    """
    problems: list[str] = []
    assumed: list[str] = []
    rows = known.vocab_size if known else int(body["vocab_size"])
    settings, specials = (
        parse_json(files[name], name) if name in files else {}
        for name in ("tokenizer_config.json", "special_tokens_map.json")
    )
    tokens = vocabulary(files)
    if tokens is not None:
        _check_sizes(rows, tokens, problems, assumed)
    found: dict[str, int] = dict(known.special) if known else {}
    for purpose in _PURPOSES:
        number = _special(f"{purpose}_token", (settings, specials), tokens)
        if number is not None and found.setdefault(purpose, number) != number:
            problems.append(
                f"the {purpose} token is {found[purpose]} in the config, {number} in the tokenizer"
            )
    pad = known.pad if known else None
    configured = config.get("pad_token_id")
    if pad is None and type(configured) is int and configured >= 0:
        pad = configured
    number = _special("pad_token", (settings, specials), tokens)
    if number is not None and pad is not None and number != pad:
        problems.append(f"the padding token is {pad} in the config, {number} in the tokenizer")
    pad = number if pad is None else pad
    for name, place in (*found.items(), *([] if pad is None else [("padding", pad)])):
        if not place < rows:
            problems.append(f"the {name} token is {place}, but the embedding has {rows} rows")
    length = _length(known, body, settings, problems, assumed)
    if problems:
        raise HubError(f"its texts do not fit its weights:\n{listed(problems)}")
    lowercase = settings.get("do_lower_case")
    if known and known.lowercase is not None:
        lowercase = known.lowercase
    return (
        TextFacts(
            vocab_size=rows,
            max_length=length,
            pad=pad,
            special=tuple(sorted(found.items())),
            lowercase=lowercase if isinstance(lowercase, bool) else None,
            pair_types=known.pair_types if known else int(body.get("types", 0)) > 1,
        ),
        assumed,
    )


def _check_sizes(
    rows: int, tokens: Mapping[str, int], problems: list[str], assumed: list[str]
) -> None:
    beyond = sorted((number, token) for token, number in tokens.items() if number >= rows)
    if beyond:
        problems.append(
            f"the tokenizer has {len(beyond)} tokens without a row in the embedding of {rows}, "
            f"as {quoted(beyond[0][1])} = {beyond[0][0]}: it belongs to other weights, or the "
            "embedding was not resized"
        )
    spare = rows - 1 - max(tokens.values(), default=-1)
    if spare > max(_SPARE_ROWS, _SPARE_SHARE * rows):
        problems.append(
            f"the embedding has {rows} rows, the tokenizer's last token is {rows - spare - 1}: "
            f"{spare} rows mean nothing, so it belongs to other weights; take the tokenizer the "
            "weights came with"
        )
    elif spare > 0:
        assumed.append(f"the last {spare} rows of the embedding belong to no token")


def _special(
    key: str, places: tuple[Mapping[str, Any], ...], tokens: Mapping[str, int] | None
) -> int | None:
    for place in places:
        token = place.get(key)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and tokens is not None and token in tokens:
            return tokens[token]
    return None


def _length(
    known: TextFacts | None,
    body: Mapping[str, Any],
    settings: Mapping[str, Any],
    problems: list[str],
    assumed: list[str],
) -> int | None:
    """The most tokens of an example: what the position table bears, or less if so trained."""
    positions = body.get("positions")
    table = positions - int(body.get("position_offset") or 0) if type(positions) is int else None
    if table is not None and table <= 0:
        table = None
    longest = known.max_length if known and known.max_length is not None else table
    if table is not None and longest is not None and longest > table:
        problems.append(f"texts of {longest} tokens, but the position table has {table} places")
    said = settings.get("model_max_length")
    if isinstance(said, (int, float)) and 0 < said < _NO_LIMIT:
        if longest is not None and said > longest:
            assumed.append(
                f"the tokenizer allows {int(said)} tokens, the position table {longest}: that holds"
            )
        else:
            longest = int(said)
    return longest
