"""The lower blocks of a transformer as a body of their own."""

import dataclasses

from tlearn.hub.errors import HubError
from tlearn.hub.source import Source
from tlearn.hub.verify import check_shapes, full_configs

_BLOCK = "body/block_"


def lower_blocks(source: Source, count: int) -> Source:
    """Keeps the bottom blocks of a source, with all that is no block; its head is left behind.

    Args:
        source: A transformer with a parameter subtree a block (BERT and its kin, GPT, ViT).
        count: Blocks to keep, from the input.

    Raises:
        HubError: If there are not as many blocks, or the body is of another build.

    Reference: Tenney et al. 2019 for what lower blocks hold.
    """
    depth = source.body.get("depth")
    blocks = {path.split("/")[1] for path in source.params if path.startswith(_BLOCK)}
    if not isinstance(depth, int) or len(blocks) != depth:
        raise HubError(
            f"a body of the family {source.body.get('family')!r} has no blocks of its own to cut "
            "between; bert, gpt and vit have"
        )
    if not 1 <= count <= depth:
        raise HubError(f"{count} blocks asked for; the body has {depth}, give 1 to {depth}")
    kept = {f"block_{i:02d}" for i in range(count)}
    params = {
        path: value
        for path, value in source.params.items()
        if path.startswith("body/") and (path.split("/")[1] not in blocks - kept)
    }
    body = {**source.body, "depth": count}
    check_shapes(full_configs(body, None, len(params)), params, dict(source.collections))
    return dataclasses.replace(
        source,
        params=params,
        body=body,
        head=None,
        label_names=None,
        provenance={**source.provenance, "part": f"the lower {count} of {depth} blocks"},
    )
