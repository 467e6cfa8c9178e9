"""The run that a source came out of."""

from tlearn.hub.descent import steps
from tlearn.hub.source import Source
from tlearn.runs.config import RunConfig, from_json


def config_of(source: Source) -> RunConfig | None:
    """The config of the last run of tlearn that trained a source; None if none did.

    Raises:
        ValueError: If it is the config of another version of tlearn.
    """
    for step in steps(source.provenance):
        if isinstance(step.get("config"), dict):
            return from_json(step["config"])
    return None
