"""The record of a run: the same bytes after any interruption, and readable by others."""

import io
import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.runs.console import Console
from tlearn.runs.folder import RunFolder
from tlearn.runs.writers import Journal, Lines, TensorBoard, read_metrics


def play(journal: Journal, first: int, last: int) -> None:
    """What a loop writes from one step to another: every second step, evaluation every fifth."""
    for step in range(first + 1, last + 1):
        about = {"step": step, "update": step, "epoch": step / 7}
        if step % 2 == 0:
            loss = np.float32(1) / np.float32(step)
            journal.write("train", **about, values={"loss": loss}, timing={"rate": 3.0})
        if step % 5 == 0:
            journal.write("validation", **about, values={"accuracy": step / 30})


@pytest.fixture
def run(tmp_path):
    with RunFolder.create(tmp_path / "run", config={}) as folder:
        yield folder


@pytest.mark.parametrize("saved", [0, 5, 6, 7, 20])
@pytest.mark.parametrize("killed", [9, 20])
def test_metrics_after_a_resume_are_those_of_an_unbroken_run(tmp_path, saved, killed):
    if saved > killed:
        pytest.skip("a checkpoint is not from the future")
    with RunFolder.create(tmp_path / "whole", config={}) as whole:
        with Journal(whole, tensorboard=False) as journal:
            play(journal, 0, 20)
    with RunFolder.create(tmp_path / "broken", config={}) as broken:
        journal = Journal(broken, tensorboard=False)
        play(journal, 0, killed)
        with broken.metrics.open("a") as file:
            file.write('{"event": "train", "step": 1')  # The kill came within a line.
        with Journal(broken, resume_step=saved, tensorboard=False) as journal:
            play(journal, saved, 20)
        journal.close()
    assert broken.metrics.read_bytes() == whole.metrics.read_bytes()
    clock = read_metrics(broken.timing, "train")
    assert [record["step"] for record in clock] == list(range(2, 21, 2))
    assert clock[0]["rate"] == 3.0
    assert {"time", "elapsed"} <= clock[0].keys()


def test_lines_are_on_their_way_at_once(tmp_path):
    lines = Lines(tmp_path / "a.jsonl")
    lines.write({"event": "train", "step": 1})
    assert read_metrics(tmp_path / "a.jsonl") == [{"event": "train", "step": 1}]
    lines.close()
    Lines(tmp_path / "a.jsonl").close()  # A new run begins anew.
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_numbers_of_every_kind_round_trip_as_strict_json(tmp_path):
    values = {
        "f32": np.float32(0.1),
        "f64": np.float64(0.1),
        "jax": jnp.asarray(2.5),
        "int": np.int64(3),
        "bool": np.bool_(True),
        "nan": float("nan"),
        "list": [1.0, float("-inf")],
        "name": "inf-like",
        "none": None,
    }
    lines = Lines(tmp_path / "a.jsonl")
    lines.write({"event": "nan", "step": 1, **values})
    lines.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "a.jsonl").read_text(), parse_constant=refuse)
    (found,) = read_metrics(tmp_path / "a.jsonl")
    assert found["event"] == "nan"
    assert found["f32"] == float(np.float32(0.1))
    assert found["f64"] == 0.1
    assert (found["jax"], found["int"], found["bool"]) == (2.5, 3, True)
    assert np.isnan(found["nan"])
    assert found["list"] == [1.0, -np.inf]
    assert (found["name"], found["none"]) == ("inf-like", None)


def test_the_reader_forgives_a_torn_last_line_only(tmp_path, caplog):
    file = tmp_path / "a.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3')
    assert [r["step"] for r in read_metrics(file)] == [1, 2]
    file.write_text('{"step": 1}\n{"step": 2}')  # Whole to look at, but was it "step": 23?
    assert [r["step"] for r in read_metrics(file)] == [1]
    file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*a\.jsonl cannot be read"):
        read_metrics(file)
    # Going on with the run matters more than its record.
    Lines(file, resume_step=5).close()
    assert [r["step"] for r in read_metrics(file)] == [1, 3]
    assert "line 2" in caplog.text


def test_values_cannot_hide_what_every_event_has(run):
    with Journal(run, tensorboard=False) as journal:
        with pytest.raises(ValueError, match="cannot be named \\['epoch'\\]"):
            journal.write("train", step=1, update=1, epoch=0.1, values={"epoch": 2})


def events(folder) -> list:
    """TensorBoard's records: length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


def test_tensorboard_gets_the_scalars(run):
    with Journal(run) as journal:
        play(journal, 0, 5)
    scalars = [(e.step, v.tag, v.simple_value) for e in events(run.tensorboard)
               for v in e.summary.value]  # fmt: skip
    assert (2, "train/loss", 0.5) in scalars
    assert (5, "validation/accuracy", pytest.approx(5 / 30)) in scalars
    assert (2, "timing/rate", 3.0) in scalars


def test_tensorboard_voids_later_steps_on_resume(tmp_path):
    board = TensorBoard(tmp_path)
    board.write("train", 6, {"loss": 2.0})
    board.close()
    board = TensorBoard(tmp_path, resume_step=7)
    board.write("train", 8, {"loss": 1.0, "name": "x", "flag": True})
    board.close()
    starts = [e.step for e in events(tmp_path) if e.session_log.status == 1]
    assert starts == [8]
    kept = {e.step: v.simple_value for e in events(tmp_path) for v in e.summary.value}
    assert kept == {6: 2.0, 8: 1.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    console = Console(30, title="pretrain", start=10, stream=stream, every_s=1e3)
    assert not console.live
    for step in range(11, 31):
        console.step(step)
        console.write("train", step, {"loss": 1 / step, "layer": "stem"})
    console.write("validation", 30, {"accuracy": np.float64(0.5)})
    console.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3  # The first, the last, the validation.
    assert lines[0].startswith("pretrain: step 11/30  train  loss 0.09091")
    assert "steps/s" in lines[1]
    assert "validation  accuracy 0.5" in lines[2]


def test_a_bar_where_there_is_a_terminal():
    stream = Terminal()
    console = Console(30, title="finetune", stream=stream)
    assert console.live
    console.step(15)
    console.write("train", 30, {"loss": 0.25})
    console.write("validation", 30, {"accuracy": 0.5})
    console.line("[not markup] saved")
    console.close()
    shown = stream.getvalue()
    assert "finetune" in shown
    assert "30/30" in shown
    assert "step 30  validation  accuracy 0.5" in shown
    assert "[not markup] saved" in shown
