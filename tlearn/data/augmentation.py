"""What is done to training pictures, as one value: windows, mirrors, colours, erasing, mixing."""

import dataclasses

from tlearn.data.errors import DataError, listing
from tlearn.data.mixing import CutMix, Mix, Mixup
from tlearn.data.pipeline import Floats, Pipeline, eval_pipeline, train_pipeline
from tlearn.data.transforms import make_floats

SMALL = 64
"""Pixels of a side up to which pictures are shifted (He et al. 2016, section 4.2) rather than cut
(Szegedy et al. 2015)."""
LAYERS = 2
"""Operations of RandAugment a picture."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training pictures.

    Attributes:
        kind: ``none``; ``flip``; ``crop`` (and flip); ``randaugment`` (and crop, flip).
        window: Smallest area of the random window of ``crop``, as a share of the picture. 0 means
            0.08 for pictures above 64 pixels, and smaller ones are shifted by up to an eighth.
        jitter: Strength of random brightness, contrast and saturation.
        magnitude: Strength of RandAugment, 0 to 30.
        spread: Standard deviation of that strength from operation to operation.
        erase: Chance of a window of noise.
        mix: ``none``, ``mixup``, ``cutmix``, or ``both``: either by chance, batch by batch.
        mixup_alpha: Mixup's weights are from Beta(alpha, alpha).
        cutmix_alpha: CutMix's likewise.

    Raises:
        DataError: Naming every setting that is unknown, or has no effect on such pictures.
    """

    kind: str = "none"
    window: float | int = 0.0
    jitter: float | int = 0.0
    magnitude: float | int = 9.0
    spread: float | int = 0.0
    erase: float | int = 0.0
    mix: str = "none"
    mixup_alpha: float | int = 0.2
    cutmix_alpha: float | int = 1.0

    def __post_init__(self) -> None:
        make_floats(
            self,
            "window",
            "jitter",
            "magnitude",
            "spread",
            "erase",
            "mixup_alpha",
            "cutmix_alpha",
        )
        problems = []
        for name, known in (
            ("kind", ("none", "flip", "crop", "randaugment")),
            ("mix", ("none", "mixup", "cutmix", "both")),
        ):
            if getattr(self, name) not in known:
                problems.append(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")
        needed = (
            (self.kind in ("crop", "randaugment"), ("window",), "augment=crop or randaugment"),
            (self.kind == "randaugment", ("magnitude", "spread"), "augment=randaugment"),
            (self.kind != "none", ("jitter", "erase"), "augment=flip, crop or randaugment"),
            (self.mix in ("mixup", "both"), ("mixup_alpha",), "mix=mixup or both"),
            (self.mix in ("cutmix", "both"), ("cutmix_alpha",), "mix=cutmix or both"),
        )
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        problems += [
            f"{name}={getattr(self, name):g} needs {what}"
            for there, names, what in needed
            for name in names
            if not there and getattr(self, name) != usual[name]
        ]
        if not 0 <= self.window <= 1:
            problems.append(f"window={self.window:g} is a share of the picture, 0..1")
        if problems:
            raise DataError(f"pictures cannot be changed so:\n{listing(problems)}")

    def pipeline(
        self,
        *,
        mean: Floats,
        std: Floats,
        size: int,
        channels: int,
        crop: float | int,
        interpolation: str,
    ) -> Pipeline:
        """Builds what is done to one training picture; see `tlearn.data.train_pipeline`.

        Args:
            mean: One number a channel, of pixels 0..1.
            std: The same.
            size: Side of the square that comes out, in pixels.
            channels: 1 or 3.
            crop: Middle that pictures are judged by, where nothing is random.
            interpolation: "bilinear", "bicubic" or "nearest".
        """
        shape = {"mean": mean, "std": std, "size": size, "channels": channels}
        shape["interpolation"] = interpolation
        if self.kind == "none":
            return eval_pipeline(**shape, crop=crop)
        settings: dict = {"flip": True, "crop": "center", "erase": self.erase}
        if self.kind != "flip":
            shifted = size <= SMALL and not self.window
            settings |= (
                {"crop": "random", "padding": max(size // 8, 1)}
                if shifted
                else {"crop": "resized", "scale": (self.window or 0.08, 1.0)}
            )
        if self.kind == "randaugment":
            settings["randaugment"] = (LAYERS, self.magnitude, self.spread)
        if self.jitter:
            settings["jitter"] = (self.jitter,) * 3
        return train_pipeline(**shape, **settings)

    @property
    def mixes(self) -> tuple[Mix, ...]:
        """The mixings of which every batch takes one."""
        mixup, cutmix = Mixup(self.mixup_alpha), CutMix(self.cutmix_alpha)
        return {"none": (), "mixup": (mixup,), "cutmix": (cutmix,), "both": (mixup, cutmix)}[
            self.mix
        ]
