"""The run folder: strict, one writer, whole files, and cheap to import."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tlearn.runs.folder import RunFolder, RunFolderError, changed, write_whole
from tlearn.runs.versions import versions


@dataclasses.dataclass(frozen=True)
class Train:
    rate: float = 0.1
    widths: tuple[int, ...] = (16, 32)


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = "digits"
    train: Train = Train()


def make(path, **kwargs):
    parts = {"config": Config(), "plan": [{"path": "head/bias"}], "plan_text": "the plan"}
    return RunFolder.create(path, **(parts | {"seeds": {"data": 3}} | kwargs))


def test_create_then_open(tmp_path):
    with make(tmp_path / "a" / "run", versions={"jax": "1"}) as made:
        assert made.writable
        assert (made.path / "lock").read_text() == f"{os.getpid()}\n"
        made.write_json("report/table.json", [1])
    assert sorted(p.name for p in made.path.iterdir()) == [
        "config.json",
        "plan.json",
        "plan.txt",
        "report",
        "run.json",
        "seeds.json",
        "versions.json",
    ]
    run = RunFolder.open(tmp_path / "a" / "run")
    assert run.config == {"data": "digits", "train": {"rate": 0.1, "widths": [16, 32]}}
    assert run.plan == [{"path": "head/bias"}]
    assert (run.path / "plan.txt").read_text() == "the plan\n"
    assert run.seeds == {"data": 3}
    assert run.versions == {"jax": "1"}
    assert changed(run.config, Config()) == []
    with pytest.raises(RunFolderError, match="opened to read"):
        run.write_text("x.txt", "")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"not empty and holds no run \(thesis\.tex\)"):
        make(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunFolderError, match="is a file"):
        make(tmp_path / "thesis.tex")
    with pytest.raises(RunFolderError, match="cannot be made a folder"):
        make(tmp_path / "thesis.tex" / "run")
    # A model folder of somebody's has a config.json too.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(RunFolderError, match="holds no run"):
        make(tmp_path / "model")
    with pytest.raises(RunFolderError, match="holds no run"):
        RunFolder.open(tmp_path / "model")


def test_a_run_is_not_overwritten(tmp_path):
    make(tmp_path).close()
    with pytest.raises(RunFolderError, match="already holds a run; resume it"):
        make(tmp_path)
    assert not (tmp_path / "lock").exists()


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        make(tmp_path / "run", config={"x": object()})
    assert not (tmp_path / "run").exists()


def test_a_creation_cut_short_is_taken_over(tmp_path):
    make(tmp_path).close()
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json.unfinished").write_text("{")
    with pytest.raises(RunFolderError, match="cut short while it was being created"):
        RunFolder.open(tmp_path)
    make(tmp_path, config={"data": "again"}).close()
    assert RunFolder.open(tmp_path).config == {"data": "again"}


def test_opening_what_is_no_run_says_where_runs_are(tmp_path):
    with pytest.raises(RunFolderError, match="does not exist; expected the folder of a run"):
        RunFolder.open(tmp_path / "nowhere")
    make(tmp_path / "first").close()
    with pytest.raises(RunFolderError, match="there are runs inside it: first"):
        RunFolder.open(tmp_path)
    write_whole(tmp_path / "first" / "run.json", b'{"format": 9}')
    with pytest.raises(RunFolderError, match=r"a run of format 9; .* reads 1"):
        RunFolder.open(tmp_path / "first")


def test_this_process_holds_it_once(tmp_path):
    with make(tmp_path / "run"):
        with pytest.raises(RunFolderError, match="this process is already writing"):
            RunFolder.open(tmp_path / "run", write=True)
        (tmp_path / "link").symlink_to(tmp_path / "run")
        with pytest.raises(RunFolderError, match="this process is already writing"):
            RunFolder.open(tmp_path / "link", write=True)
        RunFolder.open(tmp_path / "run")  # Reading needs no lock.
        child = holder(tmp_path / "run")
        assert child.stdout.readline().startswith("RunFolderError another process (pid ")
        child.wait(30)
    RunFolder.open(tmp_path / "run", write=True).close()


def holder(path) -> subprocess.Popen:
    """A process that takes a run to write and keeps it."""
    code = """
        import sys, time
        from tlearn.runs.folder import RunFolder
        try:
            run = RunFolder.open(sys.argv[1], write=True)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        else:
            print("held", flush=True)
            time.sleep(60)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_live_holder_is_respected_and_a_dead_ones_lock_taken_over(tmp_path):
    make(tmp_path).close()
    child = holder(tmp_path)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(RunFolderError, match=rf"another process \(pid {child.pid}\) is writing"):
        RunFolder.open(tmp_path, write=True)
    with pytest.raises(RunFolderError, match="already holds a run"):
        make(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    said: list[str] = []
    with RunFolder.open(tmp_path, write=True, report=said.append):
        assert len(said) == 1
        assert f"process {child.pid}, which was writing" in said[0]
    assert not (tmp_path / "lock").exists()


def test_a_forked_child_neither_keeps_nor_breaks_the_lock(tmp_path):
    code = """
        import os, sys, time
        from tlearn.runs.folder import RunFolder
        run = RunFolder.open(sys.argv[1], write=True)
        if os.fork() == 0:
            run.close()
            print("child", os.path.exists(sys.argv[1] + "/lock"), flush=True)
            time.sleep(5)
            os._exit(0)
        time.sleep(60)
    """
    make(tmp_path).close()
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout.readline() == "child True\n"
    with pytest.raises(RunFolderError, match="another process"):
        RunFolder.open(tmp_path, write=True)
    parent.kill()
    parent.wait(30)
    # The child lives on, as an orphaned data worker would; the run is free all the same.
    RunFolder.open(tmp_path, write=True, report=lambda _: None).close()


def test_writing_replaces_a_file_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_whole(file, b"old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_changed_names_every_field():
    old = {"data": "digits", "train": {"rate": 0.1, "widths": (1, 2)}, "gone": None, "empty": {}}
    new = {"data": "mnist", "train": {"rate": 0.1, "widths": [1, 3]}, "fresh": True, "empty": {}}
    assert changed(old, new) == [
        'data: "digits" -> "mnist"',
        "fresh: (absent) -> true",
        "gone: null -> (absent)",
        "train.widths: [1, 2] -> [1, 3]",
    ]
    assert changed(Config(), dataclasses.asdict(Config())) == []


def test_importing_it_is_cheap():
    code = (
        "import sys, tlearn.runs.folder, tlearn.runs.writers, tlearn.runs.versions\n"
        "heavy = {'jax', 'orbax', 'flax', 'numpy', 'rich', 'tensorboardX'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_versions_say_what_and_never_where():
    found = versions()
    assert found["devices"]["count"] >= 1
    for package in ("tlearn", "python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"):
        assert found[package][0].isdigit()
    if found["commit"] is not None:
        assert len(found["commit"]) == 40
    assert "/" not in str({k: v for k, v in found.items() if k != "devices"})
    assert os.uname().nodename not in str(found)
    assert "devices" not in versions(devices=False)
