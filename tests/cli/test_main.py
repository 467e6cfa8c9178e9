"""The command line as it is typed: help, hints, exit codes, and what it imports."""

import subprocess
import sys
import time

import pytest
from small_runs import NEW, OLD, transfer

from tlearn import __version__
from tlearn.cli.main import VERBS, main

QUICK = ["--help"], ["finetun"], *([verb, "--help"] for verb in VERBS)
WRONG = ["finetune", "--freez", "body"], ["predict"], ["evaluate", "run"]
# Every kind that `hub.load` knows.
KINDS = "run hf timm tf tfhub kaggle torch safetensors npz glove word2vec".split()
HEAVY = ("jax", "flax", "optax", "orbax", "PIL", "sklearn", "matplotlib", "tensorboardX")


@pytest.fixture(scope="module")
def run(digits_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    return str(transfer(digits_run, out, length="4st", freeze="body").folder)


def typed(*words: str) -> subprocess.CompletedProcess:
    code = "import sys; from tlearn.cli.main import main; code = main(); " + (
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]; "
        "sys.stderr.write(f'\\nheavy: {heavy}'); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [*QUICK, *WRONG], ids=" ".join)
def test_help_and_refusals_import_nothing_heavy_and_come_at_once(words):
    began = time.monotonic()
    done = typed(*words)
    wall = time.monotonic() - began
    assert done.stderr.rpartition("heavy: ")[2] == "[]"
    helps = "--help" in words
    assert done.returncode == (0 if helps else 2)
    shown = done.stdout if helps else done.stderr
    assert "usage: tlearn" in shown or "--help" in shown
    assert "Traceback" not in done.stderr
    # Half a second on an idle machine; the margin is for a busy one.
    assert wall < 10


def test_a_wrong_option_gets_a_short_hint(capsys):
    assert main(["finetune", "--sourc", "run:x", "--data", "digits"]) == 2
    shown = capsys.readouterr().err
    assert "--sourc" in shown
    assert "--source STR" in shown
    assert len(shown.splitlines()) < 15


def test_usage_lists_every_verb_in_a_screen(capsys):
    assert main([]) == main(["--help"]) == main(["-h"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)
    assert len(shown.splitlines()) < 3 * 24
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tlearn {__version__}\n"


def test_help_names_every_kind_of_source(capsys):
    assert main(["finetune", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [kind for kind in KINDS if f" {kind}:" not in shown] == []


def test_quiet_is_a_plain_flag_and_flags_have_an_opposite(capsys):
    assert main(["finetune", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--quiet " in shown
    assert "--no-quiet" not in shown
    assert "--remat, --no-remat" in shown
    assert "{True,False}" not in shown


def test_a_run_is_told_as_it_goes(digits_run, tmp_path, capsys):
    command = ["finetune", "--source", f"run:{digits_run}", "--data", "digits", "--classes", *NEW]
    command += ["--per-class", "8", "--length", "4st", "--batch-size", "20", "--freeze", "body"]
    command += ["--unfreeze", "none", "--report-every", "2", "--test-split", "test"]
    assert main([*command, "--out", str(tmp_path / "loud")]) == 0
    shown = capsys.readouterr()
    assert "5 classes: 5, 6, 7, 8, 9" in shown.out
    assert "plan: trains 85 of" in shown.out
    assert shown.out.rstrip().endswith(f"run folder: {tmp_path / 'loud'}")
    assert "test: " in shown.out
    lines = shown.err.splitlines()
    assert lines[0].startswith("loud: step 2/4  train  loss ")
    assert "steps/s" in lines[0]
    assert lines[1].startswith("loud: step 2/4  validation  loss ")
    assert main([*command, "--out", str(tmp_path / "quiet"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    report = (tmp_path / "quiet" / "report" / "report.md").read_text()
    assert "`tlearn" in report


def test_a_finished_run_is_not_resumed(run, capsys):
    assert main(["finetune", "--resume", run]) == 0
    shown = capsys.readouterr().out
    assert f"{run} finished at step 4; there is nothing to resume" in shown
    assert "validation: " in shown


def test_evaluate_and_extract_take_classes(run, tmp_path, capsys):
    digits = ["--data", "digits", "--split", "test"]
    assert main(["evaluate", run, *digits]) == 1
    assert "--classes 5 6 7 8 9" in capsys.readouterr().err
    assert main(["evaluate", run, *digits, "--classes", *NEW]) == 0
    assert "over 250 examples" in capsys.readouterr().out
    features = str(tmp_path / "features")
    for how in ("written", "reopened"):
        assert main(["extract", run, *digits, "--classes", *OLD, "--out", features]) == 0
        shown = capsys.readouterr().out
        assert shown == f"{features}: 250 examples × 16 numbers (float32), {how}\n"


def test_predict_names_labels_with_probabilities(run, tmp_path, capsys):
    from PIL import Image

    picture = tmp_path / "eight by eight.png"
    Image.new("L", (8, 8), 90).save(picture)
    assert main(["predict", run, str(picture), "--top", "2"]) == 0
    shown = capsys.readouterr().out
    name, _, labels = shown.rstrip("\n").partition(": ")
    assert name == str(picture)
    first, second = (part.split() for part in labels.split(", "))
    assert {first[0], second[0]} <= set(NEW)
    assert 1 >= float(first[1]) >= float(second[1]) >= 0


def test_explain_prints_the_plan(digits_run, capsys):
    asked = ["--source", f"run:{digits_run}", "--data", "digits", "--classes", *NEW]
    assert main(["explain", *asked, "--freeze", "bottom:1"]) == 0
    shown = capsys.readouterr().out
    assert "of full fine-tuning" in shown
    assert "body/stem/conv/kernel" in shown


def test_a_full_disk_is_told_with_its_remedy(monkeypatch, capsys):
    import errno

    def full(config, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tlearn.runs.explain.explain", full)
    assert main(["explain", "--data", "digits"]) == 1
    assert "free some space, then go on with a run by --resume" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from tlearn.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", code, "finetune", "--help"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    child.wait(60)
    assert "Traceback" not in said
    assert "Errno" not in said
