"""Word vectors as a source: their words become a tokenizer, their rows an embedding; and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError
from tlearn.hub.raw import file_sha256
from tlearn.hub.source import Source
from tlearn.hub.vectors_file import Vectors, read_glove, read_word2vec, write_word2vec

PAD, UNKNOWN = "<pad>", "<unk>"
_EMBEDDING = "body/embeddings/tokens/embedding"
# Treebank style, as the published vectors were counted: clitics and punctuation stand alone.
_PATTERN = r"\w+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+|[^\w\s]"


def vectors_source(spec: str, file: str | Path) -> Source:
    """Makes a source of a file of word vectors.

    The words keep their order behind two rows: ``<pad>`` (zeros) and ``<unk>``, the mean of all
    words, unless the file has rows of these names.

    Args:
        spec: What was asked for, ``glove:FILE`` or ``word2vec:FILE``.
        file: The file.

    Raises:
        HubError: If the file is unsound.
    """
    from tlearn import bodies

    glove = spec.startswith("glove:")
    vectors = (read_glove if glove else read_word2vec)(file)
    path = Path(file).expanduser()
    words, table, assumed = _with_special(vectors)
    lowercase = not any(word != word.lower() for word in vectors.words)
    if lowercase:
        assumed.append("no word has a capital: texts are lowercased")
    assumed.append("texts are cut into words as in the Penn treebank, roughly")
    fields = {"family": "word_vectors", "vocab_size": len(words), "width": table.shape[1]}
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
            "sha256": file_sha256(path),
            "bytes": path.stat().st_size,
            "table": "word_vectors",
            "licence": None,
            "licence_beside": [p.name for p in sorted(path.parent.glob("LICEN[CS]E*"))][:3],
            "casts": {},
            "assumed": assumed,
        },
    )


def _with_special(vectors: Vectors) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Puts the rows for padding and for unknown words first."""
    places = {word: i for i, word in enumerate(vectors.words)}
    width = vectors.table.shape[1]
    made = sum(word not in places for word in (PAD, UNKNOWN))
    table = np.empty((len(vectors.words) + made, width), np.float32)
    assumed = []
    if PAD in places:
        table[0] = vectors.table[places[PAD]]
    else:
        table[0] = 0.0
    if UNKNOWN in places:
        table[1] = vectors.table[places[UNKNOWN]]
    else:
        table[1] = vectors.table.mean(0, dtype=np.float64)
        assumed.append("an unknown word is the mean of all words")
    others = [i for i, word in enumerate(vectors.words) if word not in (PAD, UNKNOWN)]
    table[2:] = vectors.table[others]
    return (PAD, UNKNOWN, *(vectors.words[i] for i in others)), table, assumed


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
