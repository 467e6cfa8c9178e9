"""One tokenizer's vocabulary in the spelling of another, so that rows find their tokens again."""

from tlearn.data.tokenizer import Tokenizer


def vocabulary_in(old: Tokenizer, new: Tokenizer) -> dict[str, int]:
    """Gives the new tokenizer's numbers under the spelling that the old one has for each token.

    Special tokens are the same by what they are for (``[PAD]`` and ``<pad>``), others by how they
    are spelt; a token that the old one lacks keeps its own spelling. This is what the resize
    ``remap_vocabulary`` takes (`tlearn.hub.reconcile`): known tokens keep their rows, the others
    get the mean row.

    Args:
        old: What the rows were learned with.
        new: What they are to be used with.

    Example:
        ``hub.reconcile(source, ..., resize=[(path, "remap_vocabulary", vocabulary_in(old, new))])``

    Reference: Howard and Ruder 2018, section 3.2 (in their code: rows by token, else the mean).
    """
    spelt = {number: token for token, number in old.vocabulary.items()}
    theirs, ours = _purposes(old), _purposes(new)
    special: dict[int, str] = {}
    for purpose, number in ours.items():
        if theirs.get(purpose) in spelt and spelt[theirs[purpose]] not in special.values():
            special.setdefault(number, spelt[theirs[purpose]])
    taken = set(special.values())
    found = {said: number for number, said in special.items()}
    for token, number in new.vocabulary.items():
        if number in special:
            continue
        # A word that looks like the other's special token is none: it gets a spelling of its own.
        found[f"{token}\0" if token in taken else token] = number
    return found


def _purposes(tokenizer: Tokenizer) -> dict[str, int]:
    """Numbers of special tokens by what they are for, the one for what is unknown among them."""
    found = dict(tokenizer.special)
    if tokenizer.unknown is not None:
        found.setdefault("unk", tokenizer.unknown)
    return found
