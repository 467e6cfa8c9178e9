"""The pieces of a SentencePiece model, in the order of their numbers."""

from tlearn.hub.errors import HubError
from tlearn.hub.protobuf import fields

# ModelProto.pieces and SentencePiece.piece in sentencepiece_model.proto.
_PIECES, _PIECE = 1, 1


def pieces(content: bytes, name: str = "spiece.model") -> list[str]:
    """Lists the pieces of a model.

    Args:
        content: The file's bytes.
        name: Its name, for errors.

    Raises:
        HubError: If it is no SentencePiece model.
    """
    try:
        found = [
            next((text.decode("utf-8", "replace") for n, text in fields(value) if n == _PIECE), "")
            for number, value in fields(content)
            if number == _PIECES
        ]
    except (HubError, AttributeError, TypeError) as error:
        raise HubError(f"{name} is no SentencePiece model: {error}") from error
    if not found:
        raise HubError(f"{name} is no SentencePiece model: it has no pieces")
    return found
