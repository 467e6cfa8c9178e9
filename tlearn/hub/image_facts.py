"""How pictures were prepared: read from preprocessor_config.json and from timm's config."""

import json
import math
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError, quoted

PREPROCESSOR = "preprocessor_config.json"
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_OTHER_RESAMPLE = {1: "lanczos", 4: "box", 5: "hamming"}


def facts_from_preprocessor(
    content: bytes, side: int | None = None
) -> tuple[ImageFacts, tuple[str, ...]]:
    """Reads Hugging Face's preprocessor_config.json.

    Args:
        content: The file.
        side: Side of the pictures that the body takes, if it takes no other.

    Returns:
        The facts, and what was assumed where the file asks for something these facts can't say.

    Raises:
        HubError: If the file is no JSON object, or a value in it is impossible.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{PREPROCESSOR} is no JSON: {str(error)[:200]}") from error
    if not isinstance(config, dict):
        raise HubError(f"{PREPROCESSOR} is no JSON object")
    assumed: list[str] = []
    try:
        size, crop = _size_and_crop(config, assumed)
        mean, std = _mean_and_std(config)
        interpolation = _interpolation(config.get("resample", 2), assumed)
        if side is not None and side != size:
            assumed.append(f"{PREPROCESSOR} prepares {size} pixels, but the body takes {side}")
            size = side
        facts = ImageFacts(
            mean=mean,
            std=std,
            size=size,
            crop=crop,
            interpolation=interpolation,
            channels=len(mean),
        )
    except (TypeError, ValueError, ArithmeticError, KeyError) as error:
        raise HubError(f"{PREPROCESSOR} cannot be right: {str(error)[:200]}") from error
    return facts, tuple(assumed)


def _size_and_crop(config: Mapping[str, Any], assumed: list[str]) -> tuple[int, float]:
    """Gives the side of the final picture, and its share of the resized short side."""
    resized, squashed = _side(config.get("size", 224), "size")
    if config.get("crop_pct"):
        # ConvNeXt's processor: the final side is `size`; below 384 the picture is cropped to it.
        return resized, float(config["crop_pct"]) if resized < 384 else 1.0
    if config.get("do_center_crop") and config.get("crop_size") is not None:
        cropped, _ = _side(config["crop_size"], "crop_size")
        return cropped, _share(cropped, resized)
    if squashed:
        assumed.append("pictures were squashed to squares; here the centre square is taken")
    return resized, 1.0


def _share(cropped: int, resized: int) -> float:
    """The share whose inverse gives the resized side back, to the pixel, rounded down."""
    share = min(cropped / resized, 1.0)
    return share if math.floor(cropped / share) == resized else math.nextafter(share, 0.0)


def _side(value: Any, name: str) -> tuple[int, bool]:
    """Reads a size in any of its spellings; says whether it forces both sides."""
    if isinstance(value, Mapping):
        if "shortest_edge" in value:
            return int(value["shortest_edge"]), False
        height, width = int(value["height"]), int(value["width"])
        if height != width:
            raise ValueError(f"{name} is {height}x{width}, but only squares can be prepared")
        return height, True
    if isinstance(value, (list, tuple)):
        return _side({"height": value[0], "width": value[-1]}, name)
    return int(value), True


def _mean_and_std(config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean = tuple(float(x) for x in config.get("image_mean") or (0.5, 0.5, 0.5))
    std = tuple(float(x) for x in config.get("image_std") or (0.5, 0.5, 0.5))
    if config.get("do_normalize") is False:
        mean, std = (0.0,) * len(mean), (1.0,) * len(mean)
    scale = 1.0
    if config.get("do_rescale", True) is False:
        scale = 255.0
    elif config.get("rescale_factor") is not None:
        scale = 255.0 * float(config["rescale_factor"])
        # 1/255 as a decimal is not exactly 1/255.
        scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale
    # Statistics are on the scale 0 to 1 here: (scale u - m) / s = (u - m/scale) / (s/scale).
    return tuple(m / scale for m in mean), tuple(s / scale for s in std)


def _interpolation(value: Any, assumed: list[str]) -> str:
    if value in _RESAMPLE:
        return _RESAMPLE[value]
    if value in _OTHER_RESAMPLE:
        assumed.append(f"pictures were resized by {_OTHER_RESAMPLE[value]}; here by bicubic")
        return "bicubic"
    raise ValueError(f"resample is one of {sorted(_RESAMPLE)}, got {quoted(value)}")


def preprocessor_from_facts(facts: ImageFacts) -> dict[str, Any]:
    """Writes facts as a preprocessor_config.json that `facts_from_preprocessor` reads back."""
    short = {"shortest_edge": math.floor(facts.size / facts.crop)}
    return {
        "do_resize": True,
        "size": short,
        "do_center_crop": True,
        "crop_size": {"height": facts.size, "width": facts.size},
        "resample": next(k for k, name in _RESAMPLE.items() if name == facts.interpolation),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts.mean),
        "image_std": list(facts.std),
        "image_processor_type": "ViTImageProcessor" if facts.crop == 1.0 else "BitImageProcessor",
    }


def facts_from_timm(config: Mapping[str, Any]) -> tuple[ImageFacts | None, tuple[str, ...]]:
    """Reads ``pretrained_cfg`` of timm's config.json.

    Returns:
        The facts, or None if the config says nothing of pictures, and what was assumed.

    Raises:
        HubError: If a value is impossible.
    """
    given = config.get("pretrained_cfg")
    if not isinstance(given, Mapping) or "mean" not in given or "std" not in given:
        return None, ()
    assumed: list[str] = []
    try:
        channels, rows, columns = (int(x) for x in given.get("input_size", (3, 224, 224)))
        if rows != columns:
            raise ValueError(f"input_size is {rows}x{columns}, but only squares can be prepared")
        interpolation = str(given.get("interpolation", "bicubic"))
        if interpolation not in ("bilinear", "bicubic", "nearest"):
            assumed.append(f"pictures were resized by {quoted(interpolation)}; here by bicubic")
            interpolation = "bicubic"
        if given.get("crop_mode", "center") == "squash":
            assumed.append("pictures were squashed to squares; here the centre square is taken")
        facts = ImageFacts(
            mean=tuple(float(x) for x in given["mean"]),
            std=tuple(float(x) for x in given["std"]),
            size=rows,
            crop=float(given.get("crop_pct") or 0.875),
            interpolation=interpolation,
            channels=channels,
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise HubError(f"pretrained_cfg cannot be right: {str(error)[:200]}") from error
    return facts, tuple(assumed)


def timm_from_facts(facts: ImageFacts) -> dict[str, Any]:
    """Writes facts as the part of ``pretrained_cfg`` that `facts_from_timm` reads back."""
    return {
        "input_size": [facts.channels, facts.size, facts.size],
        "mean": list(facts.mean),
        "std": list(facts.std),
        "crop_pct": facts.crop,
        "crop_mode": "center",
        "interpolation": facts.interpolation,
    }
