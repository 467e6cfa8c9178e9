"""Studies on Ray and on SLURM: the same figures as in one process, also when workers die."""

import importlib.util
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from killing import Children, environment, holder_of
from small_study import as_file, kept, small

from tlearn.cli.main import main
from tlearn.runs.study.engines import engine
from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.remote import BUSY, attempt, settle
from tlearn.runs.study.resources import Resources
from tlearn.runs.study.results import collect
from tlearn.runs.study.running import StudyError, run_study
from tlearn.studies.study_page import write_study


@pytest.fixture(scope="module")
def children(tmp_path_factory) -> Children:
    return Children(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module")
def study(children) -> Path:
    return as_file(children.folder / "small.py")


@pytest.fixture(scope="module")
def whole(children, study) -> dict:
    """The study as one process runs it."""
    out = children.folder / "whole"
    assert children.run(["study", str(study), "--out", str(out)]) == 0, children.said()
    return kept(out)


def needs(package: str) -> None:
    """Skips where a package is absent, without importing it: submitit closes others' handlers."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_engine_that_is_not_installed_names_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, {"ray": "ray", "slurm": "submitit"}[name], None)
    with pytest.raises(ValueError, match=rf"pip install 'tlearn\[{name}\]'"):
        engine(name, Resources())


def test_what_an_engine_does_not_read_is_refused():
    with pytest.raises(ValueError, match="--engine local does not read workers, gpus"):
        engine("local", Resources(workers=2, gpus=1.0))
    with pytest.raises(ValueError, match="--engine ray does not read partition"):
        engine("ray", Resources(partition="long"))
    with pytest.raises(ValueError, match=r"workers is -1.*minutes is 0.*cpus is 0"):
        Resources(workers=-1, minutes=0, cpus=0.0)


def test_slurm_is_looked_for_before_anything_runs(tmp_path, monkeypatch, capsys):
    needs("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    file, out = as_file(tmp_path / "study.py"), tmp_path / "out"
    assert main(["study", str(file), "--out", str(out), "--engine", "slurm"]) == 1
    assert "there is no SLURM here" in capsys.readouterr().err
    assert not out.exists()


def test_a_worker_tells_what_went_wrong_in_words(tmp_path):
    here = os.getcwd()
    assert "holds no study" in attempt(str(tmp_path), "0123", here)
    assert os.getcwd() == here
    folder = StudyFolder.prepare(tmp_path / "out", small())
    (unit, other) = folder.plan(small(), list(small().pilots()))
    with folder.claim(unit.name):
        assert attempt(str(folder.path), unit.name, here) == BUSY
    with pytest.raises(StudyError, match=rf"(?s)2 of 2 units.*{unit.name}: broke.*not seen in"):
        settle(folder, [unit.name, other.name], {unit.name: "broke"}, patience=0.0)


@pytest.mark.slow
def test_ray_with_a_worker_killed_gives_the_same_table(children, study, whole):
    needs("ray")
    out = children.folder / "ray"
    said = children.folder / "said-ray.txt"
    command = ["study", str(study), "--out", str(out), "--engine", "ray", "--workers", "2"]
    child = children.start(command, said=str(said))
    killed = 0
    while child.exitcode is None and not killed:
        for lock in out.glob("claims/*/lock"):
            holder = holder_of(lock)
            if re.fullmatch("[0-9a-f]{16}", lock.parent.name) and holder not in (0, child.pid):
                time.sleep(0.2)  # While it trains.
                if holder_of(lock) == holder:
                    os.kill(holder, signal.SIGKILL)
                    killed = holder
                    break
        time.sleep(0.01)
    child.join(240)
    assert child.exitcode == 0, said.read_text()
    assert killed
    assert "machines of the Ray cluster: 1" in said.read_text()
    assert kept(out) == whole


@pytest.mark.slow
def test_jobs_of_submitit_give_the_same_table(children, whole, monkeypatch):
    needs("submitit")
    from tlearn.runs.study.on_slurm import slurm_engine

    for name, value in environment(children.folder).items():
        monkeypatch.setenv(name, value)
    out, said = children.folder / "jobs", list[str]()
    run = slurm_engine(Resources(), cluster="local", pause=0.2)
    folder = run_study(small(), out, engine=run, say=said.append)
    write_study(out / "report", collect(small(), folder, "command"))
    assert sum("2 jobs; their logs are in" in line for line in said) == 2
    assert kept(out) == whole


# What a cluster's own programs do, on this machine: an array's jobs are processes of a shell.
SBATCH = """#!{shell}
cp "$1" {folder}/asked.sh
range=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
number=$(( $(cat {folder}/number) + 1 )); echo $number > {folder}/number
echo "Submitted batch job $number"
export SLURM_JOB_ID=$number SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0
export SLURM_LOCALID=0 SLURM_JOB_NODELIST=here
for task in $(seq 0 ${{range:-0}}); do
  [ -n "$range" ] && export SLURM_ARRAY_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task
  {shell} "$1" > {folder}/$number-$task.txt 2>&1 < /dev/null &
done
"""
SRUN = """#!{shell}
while [ "${{1#-}}" != "$1" ]; do
  case "$1" in --unbuffered) shift ;; *) shift 2 ;; esac
done
[ "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID" = "1 0" ] && exit 137
exec "$@"
"""
SACCT = """#!{shell}
printf 'JobID|State|NodeList\n1_0|NODE_FAIL|here\n1_1|RUNNING|here\n2|RUNNING|here\n'
printf '3_0|RUNNING|here\n3_1|RUNNING|here\n'
"""


@pytest.mark.slow
def test_an_array_whose_job_dies_gives_the_same_table(children, whole, tmp_path, monkeypatch):
    needs("submitit")
    from tlearn.runs.study.on_slurm import slurm_engine

    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (tmp_path / name).write_text(text.format(shell="/bin/bash", folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "number").write_text("0")
    for name, value in environment(children.folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    out, said = children.folder / "array", list[str]()
    asked = Resources(workers=1, partition="long", minutes=30, memory=2.0, cpus=2.0)
    folder = run_study(small(), out, engine=slurm_engine(asked, pause=0.2), say=said.append)
    write_study(out / "report", collect(small(), folder, "command"))
    assert "1 jobs died" in " ".join(said)
    script = (tmp_path / "asked.sh").read_text()
    for line in ("partition=long", "time=30", "mem=2GB", "cpus-per-task=2", "array=0-1%1"):
        assert f"#SBATCH --{line}\n" in script
    assert kept(out) == whole
