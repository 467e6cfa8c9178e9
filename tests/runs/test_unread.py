"""What a run would never read is refused by name, when its config is made."""

import dataclasses

import pytest

from tlearn.runs import unread as module
from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig

LABELS = RunConfig(data=DataConfig(data="tsv:reviews"))
CORPUS = replace(LABELS, objective="next_tokens")
UNREAD = {
    "row length": (LABELS, {"row_length": 64}, "row_length is for next_tokens or"),
    "stores": (LABELS, {"stores": "here"}, "stores is for"),
    "masks of labels": (LABELS, {"mask_rate": 0.3}, "mask_rate is for masked_tokens or"),
    "generator": (LABELS, {"generator": 0.5}, "generator is for replaced_tokens, and"),
    "masks of what follows": (CORPUS, {"mask_rate": 0.3}, "and objective is next_tokens"),
    "spans of what follows": (CORPUS, {"span_length": 5.0}, "span_length is for span_corruption"),
    "labels of each class": (CORPUS, {"per_class": 5}, "per_class is for labels"),
    "bad bytes": (LABELS, {"errors": "replace"}, "errors says how a corpus is read"),
    "longest text": (CORPUS, {"max_length": 5}, "max_length is for labels"),
    "smoothing": (CORPUS, {"smoothing": 0.1}, "smoothing is for labels"),
    "head": (CORPUS, {"head": "mlp"}, "head is for labels"),
    "share of nothing": (CORPUS, {"replay_share": 0.5}, "replay names no corpus"),
    "remap of nothing": (CORPUS, {"vocabulary": "remap"}, "give a source"),
    "views": (LABELS, {"views": 3}, "views are drawn for features=once"),
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_nobody_reads_is_refused(case):
    base, changes, told = UNREAD[case]
    with pytest.raises(ValueError, match=told):
        replace(base, **changes)


def test_all_of_it_is_told_at_once():
    with pytest.raises(ValueError, match="cannot be made") as told:
        replace(CORPUS, per_class=5, smoothing=0.1, generator=0.5)
    assert all(name in str(told.value) for name in ("per_class", "smoothing", "generator"))


@pytest.mark.parametrize("name", sorted(module._OBJECTIVE))
def test_every_reader_may_be_given_what_it_reads(name):
    readers = module._OBJECTIVE[name]
    usual = {field.name: field.default for field in dataclasses.fields(ObjectiveConfig)}[name]
    if isinstance(usual, str):
        value = {"rows": "packed", "direction": "backward", "mask_unit": "word"}.get(name, "here")
    else:
        value = ("here",) if isinstance(usual, tuple) else type(usual)(2 * usual or 1)
    beside = {"replay": "there"} if name == "replay_share" else {}
    for objective in readers:
        made = replace(LABELS, objective=objective, **{name: value}, **beside)
        assert getattr(made.objective, name) == value != usual


def test_the_tables_name_fields_that_there_are():
    assert set(module._OBJECTIVE) <= {f.name for f in dataclasses.fields(ObjectiveConfig)}
    groups = {"data": DataConfig, "head": HeadConfig}
    for group, names in module._LABELS.items():
        assert set(names) <= {f.name for f in dataclasses.fields(groups[group])}
