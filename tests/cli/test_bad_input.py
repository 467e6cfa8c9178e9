"""What users get wrong: each mistake says its cause and its remedy, and loses nothing."""

import json
import os
import pickle
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
from small_runs import colour_folder, transfer

from tlearn.cli.main import main

FINETUNE = "finetune --source run:{source} --data digits --classes 5 6 --out {new} --quiet "
SOURCES = "run: hf: timm: tf: tfhub: kaggle: torch: safetensors: npz: glove: word2vec:".split()


class Hostile:
    """A pickle that would run a command where pickles are run."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def place(digits_run, tmp_path_factory) -> dict[str, Path]:
    """Everything the mistakes below need: runs, folders of pictures, files."""
    root = tmp_path_factory.mktemp("bad")
    run = transfer(digits_run, root / "run", length="2st", freeze="body").folder
    stopped = root / "stopped"
    shutil.copytree(run, stopped)
    for name in ("model", "report"):
        shutil.rmtree(stopped / name)
    wider = root / "wider"
    shutil.copytree(stopped, wider)
    # A run whose config was changed behind its back.
    config = json.loads((wider / "config.json").read_text())
    config["strategy"]["freeze"] = "none"
    (wider / "config.json").write_text(json.dumps(config))
    altered = root / "altered"
    shutil.copytree(run, altered)
    facts = json.loads((altered / "model" / "model.json").read_text())
    facts["body"]["stage_widths"] = [32]
    (altered / "model" / "model.json").write_text(json.dumps(facts))
    pictures = colour_folder(root / "pictures", count=3)
    empty = colour_folder(root / "empty", count=3)
    for picture in (empty / "train" / "red").iterdir():
        picture.unlink()
    torn = colour_folder(root / "torn", count=3)
    whole = (torn / "train" / "green" / "1.png").read_bytes()
    (torn / "train" / "green" / "1.png").write_bytes(whole[: len(whole) // 2])
    full = root / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    with zipfile.ZipFile(root / "hostile.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"fc.weight": Hostile(root / "owned")}))
        archive.writestr("archive/version", "3\n")
    (root / "text.safetensors").write_text("no weights at all")
    return {
        "root": root,
        "source": digits_run,
        "run": run,
        "stopped": stopped,
        "wider": wider,
        "altered": altered,
        "pictures": pictures,
        "empty": empty,
        "torn": torn,
        "full": full,
        "new": root / "new",
        "hostile": root / "hostile.pt",
        "text": root / "text.safetensors",
    }


# name: command line, exit code, what the message must hold (cause and remedy).
MISTAKES = {
    "a rule that matches nothing": (
        FINETUNE + "--freeze 'body/nope/.*=frozen;.*=free'",
        1,
        ["freeze rule", "body/nope/.*", "matches nothing", "body/st"],
    ),
    "a freeze that is none": (
        FINETUNE + "--freeze botom:2",
        1,
        ["'botom:2' is unknown", "use none or body or bottom:K"],
    ),
    "more layers than there are": (
        FINETUNE + "--freeze bottom:9",
        1,
        ["asks for 9 layers, the body has 2: stem, stage_1"],
    ),
    "nothing left to train": (
        FINETUNE + "--freeze '.*=frozen'",
        1,
        ["nothing would train", "leave at least the head free"],
    ),
    "a misspelt option": (FINETUNE + "--freez body", 2, ["--freez", "--freeze", "--help"]),
    "a misspelt choice": (
        FINETUNE + "--augment flp",
        2,
        ["invalid choice 'flp'", "'flip'", "--help"],
    ),
    "no number": (FINETUNE + "--rate fast", 2, ["--rate", "fast", "--help"]),
    "numbers out of range": (
        FINETUNE + "--rate -1 --batch-size 0",
        2,
        ["rate is -1.0; it must be above 0", "batch_size is 0; it must be at least 1"],
    ),
    "an unknown verb": ("finetun --data digits", 2, ["no verb 'finetun'", "'finetune'"]),
    "no source": ("finetune --data digits --out {new}", 2, ["needs --source", *SOURCES]),
    "no data": ("finetune --source run:{source} --out {new}", 2, ["needs --data", "digits"]),
    "no folder for the run": ("pretrain --data digits", 2, ["name the folder", "--out"]),
    "an unknown body": (
        "pretrain --data digits --out {new} --body resnet21",
        1,
        ["unknown body 'resnet21'", "resnet20"],
    ),
    "an unknown field of the body": (
        "pretrain --data digits --out {new} --settings stage_width=8,",
        1,
        ["stage_width", "stage_widths"],
    ),
    "a setting of another kind": (
        "pretrain --data digits --out {new} --settings stage_blocks=1 stage_widths=8,",
        1,
        ["settings stage_blocks=1 stage_widths=8, do not fit resnet20", "one of several as 8,"],
    ),
    "a single class": (
        "finetune --source run:{source} --data digits --classes 5 --out {new}",
        1,
        ["one class (5) leaves nothing to tell apart"],
    ),
    "a pull's schedule that is none": (
        FINETUNE + "--pull-strength 1 --pull-schedule cosin",
        1,
        ["no schedule 'cosin'", "cosine"],
    ),
    "a way that a pull has not": (
        FINETUNE + "--pull-strength 1 --pull features --pull-way proximal",
        1,
        ["pull=features acts as a loss", "pull_way=proximal", "use pull=l2sp"],
    ),
    "a size that is a slip": (FINETUNE + "--size 300000", 2, ["size is 300000", "at most 4096"]),
    "an unknown schedule": (FINETUNE + "--schedule cosin", 1, ["cosin", "cosine"]),
    "a length in no unit": (FINETUNE + "--length 10", 1, ["'10'", "ep"]),
    "too short for its stages": (
        FINETUNE + "--unfreeze gradual --length 1ep",
        1,
        ["too short for its 3 stages", "train longer or shorten stage_epochs"],
    ),
    "a source that is not there": (
        "finetune --source run:{root}/rnu --data digits --out {new}",
        1,
        ["no run folder", "rnu", "nearest: run"],
    ),
    "weights of another architecture": (
        "finetune --source run:{altered} --data digits --out {new}",
        1,
        ["holds no sound model", "stage_1", "shape"],
    ),
    "a file that is not there": (
        "finetune --source torch:{root}/absent.pt --data digits --out {new}",
        1,
        ["there is no weight file", "absent.pt", "'hostile.pt'"],
    ),
    "a file that holds no weights": (
        "finetune --source safetensors:{text} --data digits --out {new}",
        1,
        ["text.safetensors", "safetensors"],
    ),
    "a malicious pickle": (
        "finetune --source torch:{hostile} --data digits --out {new}",
        1,
        ["hostile.pt", "system", "not"],
    ),
    "a dataset that is not there": (
        "finetune --source run:{source} --data digitz --out {new}",
        1,
        ["'digitz' is no dataset", "did you mean 'digits'?"],
    ),
    "a class that is not there": (
        "finetune --source run:{source} --data digits --classes 5 six --out {new}",
        1,
        ["'six'", "6"],
    ),
    "a split that is not there": (
        FINETUNE + "--test-split tset",
        1,
        ["tset", "test"],
    ),
    "training and testing on the same pictures": (
        FINETUNE + "--test-split train",
        1,
        ["also trained on", "use splits that do not overlap"],
    ),
    "an empty class folder": (
        "finetune --source run:{source} --data {empty} --channels convert --out {new}",
        1,
        ["red/ is an empty class folder", "put pictures in, remove the folder"],
    ),
    "a truncated picture": (
        "finetune --source run:{source} --data {torn} --channels convert --validation 0% "
        "--out {new}",
        1,
        ["green/1.png", "truncated"],
    ),
    "other channels than the source": (
        "finetune --source run:{source} --data {pictures} --out {new}",
        1,
        ["3 channels, the body was trained on 1", "channels=convert", "channels=adapt"],
    ),
    "labels unseen in training": (
        "evaluate {run} --data digits --split test",
        1,
        ["unseen in training: '0', '1'", "--classes 5 6 7 8 9", "the model knows '5'"],
    ),
    "no label in common": (
        "evaluate {run} --data {pictures} --split test",
        1,
        ["unseen in training: 'blue', 'green', 'red'", "the model knows '5'"],
    ),
    "evaluating what has not finished": (
        "evaluate {stopped} --data digits --split test",
        1,
        ["has no model yet", "--resume"],
    ),
    "predicting a truncated picture": (
        "predict {run} {torn}/train/green/1.png {torn}/train/green/0.png",
        1,
        ["pictures that cannot be read", "green/1.png", "truncated"],
    ),
    "predicting nothing": ("predict {run}", 2, ["predict needs pictures"]),
    "extracting into a folder that holds something": (
        "extract {run} --data digits --split test --out {full}",
        1,
        ["holds other files (thesis.tex)", "name a folder of its own"],
    ),
    "a folder that is taken": (
        "finetune --source run:{source} --data digits --out {full}",
        1,
        ["not empty and holds no run (thesis.tex)", "Choose a new folder"],
    ),
    "a folder with a run": (
        "finetune --source run:{source} --data digits --out {run}",
        1,
        ["already holds a run", "--resume"],
    ),
    "resuming what is no run": ("finetune --resume {full}", 2, ["no run to resume"]),
    "resuming with another config": (
        "finetune --resume {stopped} --rate 0.5",
        1,
        ["optimizer.rate: 0.05 -> 0.5", "resume without these options"],
    ),
    "resuming into a new folder": (
        "finetune --resume {stopped} --out {new}",
        2,
        ["--resume goes on in its own folder", "drop --out"],
    ),
    "a checkpoint of another plan": (
        "finetune --resume {wider}",
        1,
        ["checkpoint of step 2", "trainable", "another"],
    ),
    "a pull without a source": (
        "pretrain --data digits --out {new} --pull-strength 0.1",
        2,
        ["a pull needs a source"],
    ),
    "a pull on nothing": (
        FINETUNE + "--pull-strength 0.1 --freeze body",
        1,
        ["pulls nothing: no loaded layer of the body trains", "drop pull_strength"],
    ),
    "a run without its kind": (
        "finetune --source {source} --data digits --out {new}",
        1,
        ["names no weights", "as in 'run:{source}'"],
    ),
    "devices below none": (FINETUNE + "--devices -1", 2, ["devices is -1; it must be at least 0"]),
    "more devices than there are": (
        FINETUNE + "--devices 64",
        1,
        ["devices is 64", "this machine has 4", "xla_force_host_platform_device_count"],
    ),
    "a batch that does not divide": (
        FINETUNE + "--devices 4 --batch-size 18",
        1,
        ["batch_size 18 does not divide over 4 devices; use 16 or 20"],
    ),
}


def everything(place) -> dict[str, tuple[int, bytes]]:
    files = [p for root in (place["root"], place["source"]) for p in root.rglob("*") if p.is_file()]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_and_loses_nothing(mistake, place, capsys):
    line, code, parts = MISTAKES[mistake]
    before = everything(place)
    found = main(shlex.split(line.format(**place)))
    shown = capsys.readouterr()
    message = " ".join(shown.err.replace("│", " ").split())
    assert found == code, message
    wanted = [part.format(**place) for part in parts]
    assert [part for part in wanted if part not in message] == [], message
    assert "Traceback" not in message
    assert len(shown.err) < 2500
    assert everything(place) == before
    assert not place["new"].exists()
    assert not (place["root"] / "owned").exists()
