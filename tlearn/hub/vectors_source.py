"""Word vectors as a source: their words become a tokenizer, their rows an embedding; and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError
from tlearn.hub.parsed_leaf import ParsedLeaf
from tlearn.hub.raw import file_sha256
from tlearn.hub.source import Source
from tlearn.hub.vectors_file import Vectors, read_glove, read_word2vec, write_word2vec

PAD, UNKNOWN = "<pad>", "<unk>"
_EMBEDDING = "body/embeddings/tokens/embedding"
# Treebank style, as the published vectors were counted: clitics and punctuation stand alone.
_PATTERN = r"\w+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+|[^\w\s]"


def vectors_source(spec: str, file: str | Path, *, read: bool = True) -> Source:
    """Makes a source of a file of word vectors.

    The words keep their order behind two rows: ``<pad>`` (zeros) and ``<unk>``, the mean of all
    words, unless the file has rows of these names.

    Args:
        spec: What was asked for, ``glove:FILE`` or ``word2vec:FILE``.
        file: The file.
        read: False reads the words alone: the numbers stay in the file, and no digest is known.

    Raises:
        HubError: If the file is unsound.
    """
    from tlearn import bodies

    reader = read_glove if spec.startswith("glove:") else read_word2vec
    vectors = reader(file, numbers=read)
    path = Path(file).expanduser()
    words, assumed = _with_special(vectors.words)
    shape = (len(words), vectors.table.shape[1])
    table = _table(vectors) if read else ParsedLeaf(lambda: _table(reader(file)), shape)
    lowercase = not any(word != word.lower() for word in vectors.words)
    if lowercase:
        assumed.append("no word has a capital: texts are lowercased")
    assumed.append("texts are cut into words as in the Penn treebank, roughly")
    fields = {"family": "word_vectors", "vocab_size": len(words), "width": shape[1]}
    body = bodies.describe(bodies.build(fields))
    return Source(
        params={_EMBEDDING: table},
        collections={},
        body=body,
        facts=TextFacts(
            vocab_size=len(words),
            pad=0,
            special=(("unk", 1),),
            lowercase=lowercase,
        ),
        files=word_tokenizer(words, lowercase),
        provenance={
            "spec": spec,
            "file": path.name,
            "format": vectors.format,
            "sha256": file_sha256(path) if read else None,
            "bytes": path.stat().st_size,
            "table": "word_vectors",
            "licence": None,
            "licence_beside": [p.name for p in sorted(path.parent.glob("LICEN[CS]E*"))][:3],
            "casts": {},
            "assumed": assumed,
        },
    )


def _with_special(words: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """Puts the words for padding and for unknown words first, and says what that assumes."""
    assumed = [] if UNKNOWN in words else ["an unknown word is the mean of all words"]
    return (PAD, UNKNOWN, *(word for word in words if word not in (PAD, UNKNOWN))), assumed


def _table(vectors: Vectors) -> np.ndarray:
    """The rows in the order of `_with_special`."""
    places = {word: i for i, word in enumerate(vectors.words)}
    made = sum(word not in places for word in (PAD, UNKNOWN))
    table = np.empty((len(vectors.words) + made, vectors.table.shape[1]), np.float32)
    table[0] = vectors.table[places[PAD]] if PAD in places else 0.0
    if UNKNOWN in places:
        table[1] = vectors.table[places[UNKNOWN]]
    else:
        table[1] = vectors.table.mean(0, dtype=np.float64)
    others = [i for i, word in enumerate(vectors.words) if word not in (PAD, UNKNOWN)]
    table[2:] = vectors.table[others]
    return table


def word_tokenizer(words: tuple[str, ...], lowercase: bool) -> dict[str, bytes]:
    """Writes a word-level tokenizer as the files that checkpoints carry.

    Args:
        words: Words by their numbers, ``<pad>`` and ``<unk>`` among them.
        lowercase: Whether texts are lowercased first.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    steps: list[Any] = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERN), "removed", invert=True)
    tokenizer.add_special_tokens([PAD, UNKNOWN])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "do_lower_case": lowercase,
    }
    return {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": (json.dumps(config, indent=1) + "\n").encode(),
    }


def export_word2vec(source: Source, file: str | Path) -> Path:
    """Writes a source's word vectors as word2vec text; loading it gives the same words and numbers.

    Raises:
        HubError: If the body is more than word vectors, or the words are not known.
    """
    from tokenizers import Tokenizer

    if source.body.get("family") != "word_vectors":
        raise HubError(f"word2vec holds word vectors, not a {source.body.get('family')!r} body")
    lost = [path for path in source.params if path.startswith("body/") and path != _EMBEDDING]
    if lost:
        raise HubError(f"word2vec holds word vectors alone; this would be lost: {lost[:6]}")
    if "tokenizer.json" not in source.files:
        raise HubError("the source carries no tokenizer.json, so its words are not known")
    numbers = Tokenizer.from_str(source.files["tokenizer.json"].decode()).get_vocab()
    words = sorted(numbers, key=lambda word: numbers[word])
    table = np.asarray(source.params[_EMBEDDING])
    if [numbers[word] for word in words] != list(range(len(table))):
        raise HubError(
            f"the tokenizer has {len(words)} words, numbered to {max(numbers.values())}, but there "
            f"are {len(table)} vectors"
        )
    return write_word2vec(file, tuple(words), table)
