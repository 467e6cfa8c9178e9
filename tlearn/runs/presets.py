"""Published recipes by name, applied to a run's config and compared."""

from collections.abc import Collection

from tlearn.params.paths import nearest
from tlearn.runs.config import DataConfig, RunConfig, diff, replace
from tlearn.runs.preset import Preset as Preset
from tlearn.runs.presets_language import LANGUAGE
from tlearn.runs.presets_texts import TEXTS
from tlearn.runs.presets_transfer import TRANSFER
from tlearn.runs.presets_vision import VISION

PRESETS = {preset.name: preset for preset in (*TRANSFER, *VISION, *LANGUAGE, *TEXTS)}
_COUNTED = ("length", "batch_size", "optimizer", "rate", "schedule", "weight_decay")
"""What every run has a value of, whether or not its paper gave one."""


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


def about(name: str, config: RunConfig, given: Collection[str] = ()) -> str:
    """Says where a preset is from, what its paper leaves open, and which values are our defaults.

    Args:
        name: The preset.
        config: The run that was made with it.
        given: Fields that the user named.
    """
    preset = PRESETS[name]
    lines = [f"preset {name}: {preset.citation}", *([preset.note] if preset.note else [])]
    groups = (config.train, config.optimizer, config.strategy)
    values = {field: value for group in groups for field, value in vars(group).items()}
    ours = [
        f"{field}={values[field]!r}"
        for field in _COUNTED
        if field not in preset.changes and field not in given
    ]
    if ours:
        lines.append(f"not of the preset but tlearn's defaults: {', '.join(ours)}")
    return "\n".join(lines)


def compare(first: str, second: str) -> list[str]:
    """Lists the fields in which two presets differ, over the same base."""
    base = RunConfig(data=DataConfig(data="any"), source="any")
    return diff(apply_preset(base, first), apply_preset(base, second))
