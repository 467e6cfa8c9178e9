"""Vocabularies made from a corpus: word pieces, byte pairs, unigram pieces or whole words.

The ``tokenizers`` package counts and chooses; what is here feeds it a corpus without holding it,
and writes the files that transformers and `Tokenizer.from_files` read.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tlearn.data.corpus import Corpus
from tlearn.data.errors import DataError, closest, listing
from tlearn.data.sentences import pieces
from tlearn.data.tokenizer import Tokenizer

Kind = Literal["wordpiece", "bpe", "unigram", "word"]
Progress = Callable[[int, int], None]
SPECIAL: dict[str, dict[str, str]] = {
    "wordpiece": {
        "pad": "[PAD]",
        "unk": "[UNK]",
        "cls": "[CLS]",
        "sep": "[SEP]",
        "mask": "[MASK]",
    },
    "bpe": {"pad": "<|pad|>", "bos": "<|endoftext|>", "eos": "<|endoftext|>"},
    "unigram": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
    "word": {"pad": "xxpad", "unk": "xxunk", "bos": "xxbos", "eos": "xxbos"},
}
"""Special tokens of each kind: those of BERT, GPT-2, T5 and ULMFiT. Of words, one mark stands
between documents and before a text with a label, as in fast.ai: what begins a text was learned."""
_PURPOSES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_BATCH = 512


def train_tokenizer(
    corpus: Corpus,
    kind: Kind = "wordpiece",
    vocab_size: int = 8000,
    *,
    lowercase: bool = True,
    special: Mapping[str, str] | None = None,
    sentinels: int = 0,
    characters: int = 200_000_000,
    progress: Progress | None = None,
) -> Tokenizer:
    """Makes a tokenizer out of a corpus; the same corpus gives the same one.

    Args:
        corpus: The documents; read twice, a document at a time.
        kind: ``wordpiece`` (BERT; Devlin et al. 2019, https://arxiv.org/abs/1810.04805, §3);
            ``bpe`` on bytes (GPT-2; Radford et al. 2019, §2.2); ``unigram`` (T5; Kudo 2018,
            https://arxiv.org/abs/1804.10959, §3); or ``word``, whole words, as ULMFiT has them
            (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, §3.1 and its code).
        vocab_size: Tokens at most, special ones included.
        lowercase: Whether texts are lowercased. The published ones of ``bpe`` keep case.
        special: Special tokens by what they are for, over those of the kind (`SPECIAL`); where
            there are ``cls`` and ``sep``, they stand around texts as BERT's do.
        sentinels: How many tokens ``<extra_id_0>``, ... stand at the vocabulary's end, the first
            one last, as T5 has them for spans (Raffel et al. 2020,
            https://arxiv.org/abs/1910.10683, §3.1.4).
        characters: Most characters that are counted, spread evenly over the corpus.
        progress: Called with (documents read, documents in all).

    Raises:
        DataError: If the corpus is empty, or kind, purposes or size make no sense.
    """
    problems = []
    if kind not in SPECIAL:
        problems.append(f"kind={kind!r}: {closest(kind, SPECIAL)}")
    chosen = {**SPECIAL.get(kind, {}), **(special or {})}
    wrong = [name for name in chosen if name not in _PURPOSES]
    problems += [f"special token for {name!r}: {closest(name, _PURPOSES)}" for name in wrong]
    if sentinels < 0:
        problems.append(f"sentinels={sentinels}; expected 0 or more")
    least = len(set(chosen.values())) + sentinels + (256 if kind == "bpe" else 1)
    if vocab_size < least:
        problems.append(
            f"vocab_size={vocab_size}; special tokens and {'all bytes' if kind == 'bpe' else 'one'}"
            f" more make {least}"
        )
    if characters < 1:
        problems.append(f"characters={characters}; expected at least 1")
    if problems:
        raise DataError(f"cannot train a tokenizer:\n{listing(problems)}")
    import tokenizers

    documents = 0
    letters: Counter[str] = Counter()
    for document in corpus:
        documents += 1
        letters.update(document.text)
    size = letters.total()
    if not size:
        raise DataError(f"{corpus.name}: holds no text to train a tokenizer on")
    backend: Any
    backend, trainer = _parts(kind, chosen, vocab_size - sentinels, lowercase, letters)
    share = min(1.0, characters / size)
    backend.train_from_iterator(_texts(corpus, share, documents, progress), trainer, length=None)
    backend = tokenizers.Tokenizer.from_str(_settled(backend, chosen))
    backend.post_processor = _template(kind, chosen, backend)
    if sentinels:
        backend.add_special_tokens([f"<extra_id_{n}>" for n in reversed(range(sentinels))])
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{purpose}_token": chosen[purpose] for purpose in _PURPOSES if purpose in chosen},
    }
    if kind == "wordpiece":
        config["do_lower_case"] = lowercase
    return Tokenizer.from_files(
        {
            "tokenizer.json": backend.to_str(pretty=True).encode(),
            "tokenizer_config.json": (json.dumps(config, indent=2) + "\n").encode(),
        }
    )


def read_special(written: Sequence[str]) -> dict[str, str]:
    """Reads special tokens written as ``mask=[MASK]``, each purpose once.

    Raises:
        DataError: If one is not written so, or a purpose is named twice.
    """
    special = dict(text.split("=", 1) for text in written if "=" in text.strip("="))
    if len(special) < len(written):
        raise DataError(f"special is {' '.join(written)}: write each once, as mask=[MASK]")
    return special


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> list[Path]:
    """Writes a tokenizer's files into a folder; gives their paths.

    Raises:
        DataError: If the tokenizer came without files.
    """
    if not tokenizer.files:
        raise DataError("this tokenizer has no files to be written")
    place = Path(folder).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in tokenizer.files.items():
        written.append(place / name)
        written[-1].write_bytes(data)
    return written


def _texts(
    corpus: Corpus, share: float, documents: int, progress: Progress | None
) -> Iterator[list[str]]:
    """Pieces of all documents; where only a share is wanted, evenly spread ones."""
    waiting: list[str] = []
    due = 0.0
    for done, document in enumerate(corpus, 1):
        for text, _ in pieces(document.text):
            due += share * len(text)
            if due < len(text):
                continue
            due -= len(text)
            waiting.append(text)
            if len(waiting) == _BATCH:
                yield waiting
                waiting = []
        if progress is not None:
            progress(done, documents)
    yield waiting


def _parts(
    kind: Kind, special: Mapping[str, str], size: int, lowercase: bool, letters: Counter[str]
) -> tuple[Any, Any]:
    """The model with what goes before and after it, and its trainer."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    given: dict[str, Any] = {
        "vocab_size": size,
        "special_tokens": list(dict.fromkeys(special.values())),
        "show_progress": False,
    }
    lowered = [normalizers.Lowercase()] if lowercase else []
    if kind == "wordpiece":
        backend: Any = tokenizers.Tokenizer(models.WordPiece(unk_token=special["unk"]))
        backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        # The trainer numbers single letters in an order that changes from process to process, and
        # prefers the lower numbers among pairs as frequent as each other. Named before, as special
        # tokens, letters have a fixed order; an alphabet of its own the trainer is denied.
        found = _alphabet(letters, backend.normalizer, size // 4)
        given["special_tokens"] += [*found, *(f"##{letter}" for letter in found)]
        return backend, trainers.WordPieceTrainer(limit_alphabet=0, **given)
    if kind == "bpe":
        backend = tokenizers.Tokenizer(models.BPE())
        if lowered:
            backend.normalizer = lowered[0]
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        every = pre_tokenizers.ByteLevel.alphabet()
        return backend, trainers.BpeTrainer(initial_alphabet=sorted(every), **given)
    if kind == "unigram":
        backend = tokenizers.Tokenizer(models.Unigram())
        space = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *lowered, space])
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        return backend, trainers.UnigramTrainer(unk_token=special["unk"], **given)
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=special["unk"]))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *lowered])
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend, trainers.WordLevelTrainer(**given)


def _alphabet(letters: Counter[str], normalizer: Any, most: int) -> list[str]:
    """The most frequent letters of a corpus as the normalizer leaves them, in a fixed order."""
    counts: Counter[str] = Counter()
    for letter, count in letters.items():
        for plain in normalizer.normalize_str(letter).replace(" ", ""):
            counts[plain] += count
    kept = sorted(counts, key=lambda letter: (-counts[letter], letter))[:most]
    return sorted(kept)


def _settled(backend: Any, special: Mapping[str, str]) -> str:
    """The trained tokenizer without what differs from one training to the next."""
    definition = json.loads(backend.to_str())
    own = set(special.values())
    # Letters were named to the trainer as special tokens.
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["content"] in own]
    model = definition["model"]
    if model["type"] == "Unigram":
        # Probabilities are added up in a changing order, and letters that would be lost get the
        # lowest one in turn: rounded, alike, and sorted anew they are the same every time.
        least = min(score for _, score in model["vocab"]) + 0.01
        first = [[text, score] for text, score in model["vocab"] if text in own]
        rest = [[t, round(max(s, least), 6)] for t, s in model["vocab"] if t not in own]
        model["vocab"] = first + sorted(rest, key=lambda entry: (-entry[1], entry[0]))
    return json.dumps(definition)


def _template(kind: Kind, special: Mapping[str, str], backend: Any) -> Any:
    """Where special tokens stand around a text and between the two of a pair."""
    from tokenizers import processors

    one, two = {
        "wordpiece": ("{cls} $A {sep}", "{cls} $A {sep} $B:1 {sep}:1"),
        "bpe": ("$A", "$A $B:1"),
        "unigram": ("$A {eos}", "$A {eos} $B {eos}"),
        "word": ("{bos} $A", "{bos} $A {eos} $B"),
    }["wordpiece" if special.keys() >= {"cls", "sep"} else kind]
    needed = dict.fromkeys(text for name, text in special.items() if f"{{{name}}}" in two)
    return processors.TemplateProcessing(
        single=one.format(**special),
        pair=two.format(**special),
        special_tokens=[(text, backend.token_to_id(text)) for text in needed],
    )
