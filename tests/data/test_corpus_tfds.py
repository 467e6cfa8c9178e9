"""A corpus out of a prepared TFDS dataset: by splits, in the order stored, test texts left out."""

import sys

import pytest

from tlearn.data import CorpusOptions, DataError, open_corpus

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")


def prepare(data_dir, **splits):
    """Writes reviews in the array_record format."""

    def info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "corpus_reviews",
        "_info": info,
        "_split_generators": lambda self, _: {
            name: iter(enumerate({"text": text} for text in texts))
            for name, texts in splits.items()
        },
        "_generate_examples": lambda self: iter(()),
    }
    base = (tfds.core.GeneratorBasedBuilder,)
    kind = type("CorpusReviews", base, {**body, "__module__": __name__})
    kind(data_dir=data_dir, file_format="array_record").download_and_prepare()


def test_documents_by_split(tmp_path):
    prepare(tmp_path, train=["größer", "two"], test=["three"], unsupervised=["four"])
    asked = CorpusOptions(data_dir=str(tmp_path))
    corpus = open_corpus("tfds:corpus_reviews", asked)
    assert sorted(document.text for document in corpus) == ["größer", "two"]
    assert [document.id for document in corpus] == ["train/0", "train/1"]
    assert list(corpus) == list(corpus)
    more = CorpusOptions(data_dir=str(tmp_path), split="train+unsupervised")
    both = open_corpus("tfds:corpus_reviews", more)
    assert sorted(document.text for document in both) == ["four", "größer", "two"]
    assert both.digest != corpus.digest == open_corpus("tfds:corpus_reviews", asked).digest
    named = open_corpus("tfds:corpus_reviews@test", asked)
    assert [document.text for document in named] == ["three"]
    found = open_corpus(tmp_path / "corpus_reviews" / "1.0.0")
    assert list(found) == list(corpus)
    assert "tensorflow" not in sys.modules
    for wrong, message in (
        (CorpusOptions(data_dir=str(tmp_path), split="tset"), "no split 'tset': did you mean 'te"),
        (CorpusOptions(data_dir=str(tmp_path), text_field="txt"), "did you mean 'text'"),
    ):
        with pytest.raises(DataError, match=message):
            open_corpus("tfds:corpus_reviews", wrong)
