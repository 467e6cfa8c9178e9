"""How a checkpoint's pictures or texts were prepared: static facts that travel with its weights."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """How pictures were prepared for the weights they belong to.

    Attributes:
        mean: Subtracted from every channel, on the scale 0 to 1.
        std: Divides every channel after that.
        size: Side of the square picture the body sees, in pixels.
        crop: Side of the central crop as a fraction of the resized short side.
        interpolation: How pictures are resized: bilinear, bicubic, nearest.
        channels: Channels of a picture: 3 for RGB, 1 for grey.

    Raises:
        ValueError: If a value is impossible; names every such field.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    crop: float = 1.0
    interpolation: str = "bilinear"
    channels: int = 3

    def __post_init__(self) -> None:
        problems = []
        for field in ("mean", "std"):
            if len(getattr(self, field)) != self.channels:
                problems.append(
                    f"{field} has {len(getattr(self, field))} values for channels={self.channels}"
                )
        if any(value <= 0 for value in self.std):
            problems.append(f"std must be positive, got {self.std}")
        if self.size < 1:
            problems.append(f"size must be at least 1 pixel, got {self.size}")
        if not 0 < self.crop <= 1:
            problems.append(f"crop is a fraction in (0, 1], got {self.crop}")
        if self.interpolation not in ("bilinear", "bicubic", "nearest"):
            problems.append(
                f"interpolation is 'bilinear', 'bicubic' or 'nearest', got {self.interpolation!r}"
            )
        if problems:
            raise ValueError("image facts cannot be right: " + "; ".join(problems))


@dataclasses.dataclass(frozen=True)
class TextFacts:
    """How texts were turned into numbers for the weights they belong to.

    Attributes:
        vocab_size: Rows of the token embedding: every token's number is below it.
        max_length: Most tokens of one example, special ones included; None where nothing but
            memory limits it (relative positions).
        pad: Number of the padding token; None where there is none.
        special: Special tokens by what they are for, as in ``(("cls", 101), ("sep", 102))``.
        lowercase: Whether texts were lowercased; None where it is unknown.
        pair_types: Whether the second text of a pair has a token type of its own.
        backward: Whether texts are read from their last token to their first; None where it is
            unknown, as of fast.ai's files: the run that starts from them says it.

    Raises:
        ValueError: If a value is impossible; names every such field.
    """

    vocab_size: int
    max_length: int | None = None
    pad: int | None = None
    special: tuple[tuple[str, int], ...] = ()
    lowercase: bool | None = None
    pair_types: bool = False
    backward: bool | None = False

    def __post_init__(self) -> None:
        problems = []
        if self.vocab_size < 1:
            problems.append(f"vocab_size must be at least 1, got {self.vocab_size}")
        if self.max_length is not None and self.max_length < 1:
            problems.append(f"max_length must be at least 1 token, got {self.max_length}")
        pad = () if self.pad is None else (("pad", self.pad),)
        problems += [
            f"{name} is token {number}, outside the vocabulary of {self.vocab_size}"
            for name, number in (*pad, *self.special)
            if not 0 <= number < self.vocab_size
        ]
        names = [name for name, _ in self.special]
        if len(set(names)) != len(names):
            problems.append(f"special names a purpose twice: {names}")
        if problems:
            raise ValueError("text facts cannot be right: " + "; ".join(problems))

    def token(self, name: str) -> int | None:
        """Number of the special token for a purpose (``cls``, ``sep``, ``mask``...), or None."""
        return self.pad if name == "pad" else dict(self.special).get(name)
