"""What a checkpoint's pictures looked like: static facts that travel with its weights."""

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
