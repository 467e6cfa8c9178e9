"""Published recipes by name, applied to a run's config and compared."""

from tlearn.params.paths import nearest
from tlearn.runs.config import DataConfig, RunConfig, diff, replace
from tlearn.runs.preset import Preset as Preset
from tlearn.runs.presets_language import LANGUAGE
from tlearn.runs.presets_texts import TEXTS
from tlearn.runs.presets_transfer import TRANSFER
from tlearn.runs.presets_vision import VISION

PRESETS = {preset.name: preset for preset in (*TRANSFER, *VISION, *LANGUAGE, *TEXTS)}


def apply_preset(config: RunConfig, name: str) -> RunConfig:
    """Changes a config to follow a preset; later changes by the user win.

    Raises:
        ValueError: If there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(
            f"there is no preset {name!r}; closest: {nearest(name, PRESETS)}; "
            f"there are {', '.join(PRESETS)}"
        )
    return replace(config, **PRESETS[name].changes)


def compare(first: str, second: str) -> list[str]:
    """Lists the fields in which two presets differ, over the same base."""
    base = RunConfig(data=DataConfig(data="any"), source="any")
    return diff(apply_preset(base, first), apply_preset(base, second))
