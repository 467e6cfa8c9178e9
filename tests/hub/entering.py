"""What enters each stack of a body of texts, which its layers do not all tell.

A T5's decoder begins with embeddings of its own tokens; `Features.layers` holds the encoder's.
"""

WATCH = {
    "capture_intermediates": lambda module, _: module.name == "embeddings",
    "mutable": ["intermediates"],
}
"""Arguments of ``apply`` under which the embeddings are kept."""


def entering(captured):
    """The embeddings in the order in which they were computed: the encoder's first."""
    found = captured["intermediates"]
    return [out[0] for out in found.get("body", found)["embeddings"]["__call__"]]
