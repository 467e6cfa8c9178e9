"""What tasks of all kinds ask of their parts: how much is held out, how much may be shared."""

from tlearn.data import DataError

LARGEST_OVERLAP = 0.01
"""Public data sets repeat an example now and then; more than this share is a wrong split."""


def read_share(validation: str) -> float | None:
    """Reads the share a validation part is carved with; None for a split expression.

    Raises:
        DataError: If it is a percentage of another kind.

    Example:
        >>> read_share("10%"), read_share("dev"), read_share("train[:10%]")
        (0.1, None, None)
    """
    if not validation.endswith("%") or "[" in validation:
        return None
    try:
        share = float(validation[:-1]) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise DataError(f"validation {validation!r}: expected a share such as 10%, or a split")
    return share
