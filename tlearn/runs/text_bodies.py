"""What a run on texts reads them with: tokenizer and facts, its source's or its own."""

import dataclasses
from pathlib import Path
from typing import Any

from tlearn import bodies, hub
from tlearn.bodies.facts import TextFacts
from tlearn.data import Tokenizer
from tlearn.data.tokenizer_files import FILES
from tlearn.runs.config import RunConfig
from tlearn.runs.parts import new_body


def tokenizer_of(config: RunConfig, source: hub.Source | None) -> Tokenizer:
    """The tokenizer that goes with a source, or with a body that is to be made.

    Raises:
        ValueError: If there is none.
    """
    folder = config.body.tokenizer
    if source is not None and source.files and not folder:
        return carried_tokenizer(source)
    if not folder:
        whose = f"{config.source} carries no tokenizer" if source else "a text body needs one"
        raise ValueError(
            f"{whose}: name the folder of its tokenizer.json or vocab.txt by --tokenizer DIR"
        )
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ValueError(f"tokenizer {folder!r} is no folder")
    files = {name: (place / name).read_bytes() for name in FILES if (place / name).is_file()}
    return Tokenizer.from_files(files)


def facts_of(config: RunConfig, source: hub.Source | None, tokenizer: Tokenizer) -> TextFacts:
    """How a run's texts become numbers: as its source had them, or as its new body wants them.

    Raises:
        ValueError: If the texts are to be read in another direction or by another tokenizer than
            the source read them, or a vocabulary is to be remapped that is the source's already.
    """
    if source is None:
        new = _facts(new_body(config, {"vocab_size": tokenizer.size}), tokenizer)
        return directed(config, new)
    facts = source.facts
    if not isinstance(facts, TextFacts):
        facts = _facts(bodies.build(dict(source.body)), tokenizer)
    facts = directed(config, facts)
    if not remaps(config):
        _check_same(config, source, tokenizer)
        return facts
    if not source.files or carried_tokenizer(source).digest == tokenizer.digest:
        raise ValueError(
            "vocabulary=remap carries embeddings over to another tokenizer: name its folder by "
            f"--tokenizer DIR, other than what {config.source} has"
        )
    return dataclasses.replace(
        facts,
        vocab_size=tokenizer.size,
        pad=tokenizer.token("pad"),
        special=tuple((name, n) for name, n in tokenizer.special if name != "pad"),
    )


def directed(config: RunConfig, facts: TextFacts) -> TextFacts:
    """The facts with the direction in which a run reads: its source's, or its own if unknown.

    Raises:
        ValueError: If texts are to be read backward by a source that read them forward.
    """
    backward = config.objective.direction == "backward"
    if facts.backward is None:
        return dataclasses.replace(facts, backward=backward)
    if backward and not facts.backward:
        raise ValueError(
            f"direction=backward, but {config.source} was trained on texts read forward; leave "
            "direction out, or pre-train a backward body"
        )
    return facts


def _check_same(config: RunConfig, source: hub.Source, tokenizer: Tokenizer) -> None:
    """Refuses another tokenizer than the source's: every token would read another one's row."""
    if not config.body.tokenizer or not any(name in source.files for name in FILES):
        return
    carried = carried_tokenizer(source)
    if carried.digest == tokenizer.digest:
        return
    theirs, ours = carried.vocabulary, tokenizer.vocabulary
    moved = sorted((n, token) for token, n in ours.items() if theirs.get(token) != n)
    shown = ", ".join(
        f"{token!r} is {n}, the source's {theirs.get(token, 'none')}" for n, token in moved[:3]
    )
    lost = len(theirs.keys() - ours.keys())
    if moved:
        differ = f"{len(moved)} of its tokens have other places: {shown}"
    else:
        differ = f"it lacks {lost} of its tokens" if lost else "it cuts texts another way"
    raise ValueError(
        f"tokenizer {config.body.tokenizer!r} is not the one that {config.source} was trained "
        f"with ({differ}); leave --tokenizer out to read texts as the source did, or say "
        "--vocabulary remap to carry the rows of its embedding over"
    )


def remaps(config: RunConfig) -> bool:
    """Whether a run carries its source's embeddings over to another vocabulary."""
    return config.objective.vocabulary == "remap"


def positions(body: Any) -> int | None:
    """Longest text a body can take; None if it has no table of positions."""
    table = getattr(body, "positions", None)
    return None if table is None else table - getattr(body, "position_offset", 0)


def carried_tokenizer(source: hub.Source) -> Tokenizer:
    """The tokenizer that lies beside a source's weights."""
    lowercase = source.facts.lowercase if isinstance(source.facts, TextFacts) else None
    return Tokenizer.from_files(source.files, lowercase=lowercase)


def _facts(body: Any, tokenizer: Tokenizer) -> TextFacts:
    return TextFacts(
        vocab_size=body.vocab_size,
        max_length=positions(body),
        pad=tokenizer.token("pad"),
        special=tokenizer.special,
        pair_types=getattr(body, "types", 0) > 1,
        backward=None,
    )
