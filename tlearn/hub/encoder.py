"""The encoder of a model that reads one text and writes another, as a plain body."""

import dataclasses

from tlearn.hub.errors import HubError
from tlearn.hub.source import Source

_DECODER = "body/decoder_"


def encoder_alone(source: Source) -> Source:
    """Leaves a decoder and its head behind: what is left reads texts, and can be given a new head.

    Raises:
        HubError: If the source has no decoder.

    Reference: Ni et al. 2022 (Sentence-T5), section 3: the encoder alone with mean pooling.
    """
    if not source.body.get("decoder_depth"):
        raise HubError(
            f"{source.provenance.get('spec', 'this source')} has no decoder to leave behind: its "
            f"body is of the family {source.body.get('family')!r}"
        )
    kept = {
        path: value
        for path, value in source.params.items()
        if path.startswith("body/") and not path.startswith(_DECODER)
    }
    return dataclasses.replace(
        source,
        params=kept,
        body={**source.body, "decoder_depth": 0},
        head=None,
        label_names=None,
        provenance={**source.provenance, "part": "encoder"},
    )
