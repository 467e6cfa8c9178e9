"""Where sentences begin: at lines, and after ``.``, ``!`` or ``?`` where a capital follows.

The rule is plain on purpose. Sentences only say where a pair of segments may be cut (next
sentence, sentence order), so a wrong border after an abbreviation costs little, and a library with
a model of its own would be one more thing that every stage of a run has to agree on.
"""

import re
from collections.abc import Iterator

LONGEST = 8192
"""Characters of a piece at most: what is longer is cut, so that no line is too long to tokenise."""
# Every run of white space is matched once: a border costs no more in 10 MB of spaces.
_BORDER = re.compile(r"\n\s*|(?<=[.!?])[\"'”’)\]]{0,4}\s+")
_OPENING = "\"'“‘(["


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Cuts a text into its sentences, and into smaller pieces where a sentence is very long.

    Every piece begins with the white space before it, so the pieces joined are the text, and
    tokenizers that read a space as the beginning of a word see what they would see in the whole.

    Yields:
        A piece and whether a sentence begins with it.

    Example:
        >>> list(pieces("One. Two"))
        [('One.', True), (' Two', True)]
    """
    begin = 0
    for border in _borders(text):
        yield from _shortened(text[begin:border])
        begin = border
    if begin < len(text):
        yield from _shortened(text[begin:])


def _borders(text: str) -> Iterator[int]:
    """Places where the white space before a sentence begins."""
    for found in _BORDER.finditer(text):
        space = found.group()
        begin, end = found.start() + len(space) - len(space.lstrip("\"'”’)]")), found.end()
        if end >= len(text) or begin == 0:
            continue
        following = text[end]
        if following in _OPENING and end + 1 < len(text):
            following = text[end + 1]
        if "\n" in space or following.isupper():
            yield begin


def _shortened(sentence: str) -> Iterator[tuple[str, bool]]:
    first = True
    begin = 0
    while len(sentence) - begin > LONGEST:
        # At the last space that leaves no more than the longest; in the middle of a word if none.
        end = sentence.rfind(" ", begin + 1, begin + LONGEST)
        end = begin + LONGEST if end < 0 else end
        yield sentence[begin:end], first
        first, begin = False, end
    yield sentence[begin:], first
