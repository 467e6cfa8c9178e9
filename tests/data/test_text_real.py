"""The text sets of the shared folder: each opens by one name with the rows its README counts."""

import numpy as np
import pytest

from tlearn.data import TextOptions, open_texts, overlap, text_splits

pytestmark = pytest.mark.data

ROWS = {
    "sst2": (6920, 872, 1821),
    "sst5": (8544, 1101, 2210),
    "trec6": (5452, 500),
    "subj": (8000, 1000, 1000),
    "mr": (8529, 1066, 1067),
    "cola": (8551, 1043),
    "mrpc": (3576, 500, 1725),
    "rte": (2490, 277),
    "stsb": (5749, 1500, 1379),
    "imdb": (25_000, 25_000),
    "newsgroups20": (11_314, 7532),
    "reuters_r8": (5485, 2189),
}
CLASSES = {"sst5": 5, "trec6": 6, "stsb": 0, "newsgroups20": 20, "reuters_r8": 8}
PAIRS = {"mrpc", "rte", "stsb"}
BARE = TextOptions(text_column="2", label_column="1")


@pytest.mark.parametrize("name", ROWS)
def test_rows_classes_and_pairs(shared_data, name):
    splits = text_splits(shared_data / name, options=BARE if name == "reuters_r8" else None)
    found = {split: read() for split, read in splits.items()}
    assert tuple(len(part) for part in found.values()) == ROWS[name]
    for part in found.values():
        assert len(part.label_names) == CLASSES.get(name, 2)
        assert ("pair" in part[0]) == (name in PAIRS)


def test_known_figures(shared_data):
    scores = open_texts(shared_data / "stsb", "test")
    assert scores.labels.min() == 0
    assert scores.labels.max() == 5
    assert scores[0]["text"] == "A girl is styling her hair."
    assert scores[0]["pair"] == "A girl is brushing her hair."
    # Majority 0.665, as the README says; a byte-order mark and raw quotes are in these files.
    mrpc = open_texts(f"glue:{shared_data}/mrpc", "test")
    assert np.mean(mrpc.labels == mrpc.label_names.index("1")) == pytest.approx(0.665, abs=1e-3)
    assert '"the witness"' in open_texts(f"glue:{shared_data}/mrpc", "train")[0]["text"]
    rating = TextOptions(label_column="rating")
    imdb = open_texts(f"jsonl:{shared_data}/imdb/test.jsonl.gz", options=rating)
    assert imdb.label_names == ("1", "2", "3", "4", "7", "8", "9", "10")


def test_sets_that_share_texts_are_found_out(shared_data):
    # Cut into words in another way (-lrb-, spaces), yet the same: most of SST-2 comes from here.
    sst = open_texts(shared_data / "sst2", "dev")
    movies = open_texts(shared_data / "mr", "train")
    assert overlap(movies, sst).repeated > 0.6 * len(sst)
    trec = open_texts(shared_data / "trec6", "train"), open_texts(shared_data / "trec6", "test")
    assert overlap(*trec).repeated == 11
