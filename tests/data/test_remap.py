"""A vocabulary in another tokenizer's spelling: special tokens by purpose, words by spelling."""

import json

import pytest

from tlearn.data import DataError, Tokenizer, vocabulary_in


def tokenizer(words, special):
    tokens = [*special.values(), *words]
    definition = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, token in enumerate(special.values())
        ],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "unk_token": special["unk"],
        },
    }
    numbers = tuple((purpose, i) for i, purpose in enumerate(special))
    return Tokenizer(json.dumps(definition), numbers)


def test_words_go_by_spelling_and_special_tokens_by_what_they_are_for():
    old = tokenizer(["cat", "dog", "sun"], {"unk": "[UNK]", "pad": "[PAD]"})
    new = tokenizer(["dog", "moon", "cat"], {"pad": "<pad>", "unk": "<unk>", "eos": "</s>"})
    found = vocabulary_in(old, new)
    assert found == {"[PAD]": 0, "[UNK]": 1, "</s>": 2, "dog": 3, "moon": 4, "cat": 5}
    assert vocabulary_in(old, old) == old.vocabulary


def test_a_word_that_looks_like_the_others_special_token_does_not_take_its_row():
    old = tokenizer(["cat"], {"unk": "[UNK]"})
    new = tokenizer(["[UNK]", "cat"], {"unk": "<unk>"})
    found = vocabulary_in(old, new)
    assert found["[UNK]"] == 0
    assert found["cat"] == 2
    assert sorted(found.values()) == [0, 1, 2]


def test_without_a_tokenizer_there_is_no_vocabulary():
    with pytest.raises(DataError):
        Tokenizer.from_files({})
