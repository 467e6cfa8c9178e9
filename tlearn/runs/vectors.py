"""Word vectors out of a corpus: words counted, vectors trained, a file written."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from tlearn.data.corpus_opening import CorpusOptions, open_corpus
from tlearn.data.token_store import build_store
from tlearn.data.tokenizer_training import train_tokenizer
from tlearn.data.word_pairs import WordPairs
from tlearn.hub.vectors_file import write_word2vec
from tlearn.train.word2vec import fit, tables

Progress = Callable[[int, int, float], None]
STORES = "~/.cache/tlearn/stores"
RATES = {"skip-gram": 0.025, "cbow": 0.05}
"""First rates of the published program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorsConfig:
    """How word vectors are trained; the values are those of Mikolov et al. 2013b where it has any.

    Attributes:
        method: Predict the words around a word, or a word by those around it.
        width: Numbers of a vector.
        window: The most words on either side.
        negatives: Words drawn for each that is predicted.
        epochs: Passes over the corpus.
        min_count: Words that occur less often are left out.
        subsample: Frequency above which occurrences of a word are left out; 0 leaves out none.
        rate: The first rate, which falls in a line; 0 for 0.025 (skip-gram) or 0.05 (cbow).
        vocab_size: The most words.
        lowercase: Whether texts are lowercased.
        block: Words of the text read at a step.
        seed: Of all that is drawn.
        stores: Folder where corpora are kept as tokens.
        binary: Whether the file is in word2vec's binary form.
    """

    method: Literal["skip-gram", "cbow"] = "skip-gram"
    width: int = 100
    window: int = 5
    negatives: int = 5
    epochs: int = 5
    min_count: int = 5
    subsample: float = 1e-3
    rate: float = 0.0
    vocab_size: int = 100_000
    lowercase: bool = True
    block: int = 4096
    seed: int = 0
    stores: str = STORES
    binary: bool = False

    def problems(self) -> list[str]:
        """Everything about the values that makes no sense, a sentence each."""
        least = ("width", "window", "negatives", "epochs", "min_count", "block")
        found = [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in least
            if getattr(self, name) < 1
        ]
        if not 0 <= self.rate < 1:
            found.append(f"rate is in [0, 1), got {self.rate}")
        if not 0 <= self.subsample < 1:
            found.append(f"subsample is a frequency in [0, 1), got {self.subsample}")
        return found


@dataclasses.dataclass(frozen=True)
class Trained:
    """What was trained.

    Attributes:
        file: Where the vectors are.
        words: How many.
        tokens: How many words the corpus has.
        losses: Mean loss a word of every epoch.
    """

    file: Path
    words: int
    tokens: int
    losses: tuple[float, ...]

    def __str__(self) -> str:
        losses = " ".join(f"{loss:.3f}" for loss in self.losses)
        return (
            f"{self.file}: {self.words:,} words from {self.tokens:,} of text; loss a word by "
            f"epoch {losses}"
        )


def train_vectors(
    corpus: str,
    out: str | Path,
    config: VectorsConfig,
    *,
    reading: CorpusOptions | None = None,
    progress: Progress | None = None,
    documents: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Trains word vectors on a corpus and writes them as word2vec has them.

    ``word2vec:FILE`` then names them as a source.

    Args:
        corpus: The corpus, as `tlearn.data.corpus_opening.open_corpus` takes it.
        out: The file.
        config: How.
        reading: How the corpus is read.
        progress: Called with steps done, steps in all, loss a word.
        documents: Called with (documents done, documents in all or 0) while the corpus is read.
        say: Told what is trained on.

    Raises:
        DataError: If the corpus cannot be read, or too few words are left.
        HubError: If the file cannot be written.
        ValueError: Naming every value that makes no sense.
    """
    if problems := config.problems():
        raise ValueError("cannot train word vectors: " + "; ".join(problems))
    opened = open_corpus(corpus, reading)
    tokenizer = train_tokenizer(
        opened, "word", config.vocab_size, lowercase=config.lowercase, progress=documents
    )
    stores = Path(config.stores).expanduser()
    store = build_store(opened, tokenizer, stores, progress=documents)
    pairs = WordPairs(
        store,
        config.method,
        seed=config.seed,
        block=config.block,
        window=config.window,
        negatives=config.negatives,
        threshold=config.subsample,
        min_count=config.min_count,
    )
    say(str(pairs))
    held = tables(jax.random.key(config.seed), len(pairs.kept), config.width)
    each = pairs.steps_per_epoch
    losses = np.zeros(config.epochs * each)
    steps = fit(
        pairs,
        held,
        method=config.method,
        rate=config.rate or RATES[config.method],
        epochs=config.epochs,
    )
    for number, now, loss in steps:
        held = now
        losses[number - 1] = loss
        if progress is not None:
            progress(number, len(losses), loss)
    spelled = tokenizer.backend()
    words = tuple(spelled.id_to_token(int(number)) for number in pairs.kept)
    file = write_word2vec(out, words, np.asarray(held.words), binary=config.binary)
    by_epoch = losses.reshape(config.epochs, each).mean(1)
    return Trained(file, len(words), len(store.tokens), tuple(map(float, by_epoch)))
