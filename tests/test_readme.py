"""What the README shows works: its Python runs, its command lines too, on pictures made up here."""

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import small_texts
from small_runs import colour_folder

from tlearn.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What makes the README's own sizes affordable here, by verb; the last of two equal options holds.
SMALL = {
    "pretrain": "--settings stage_blocks=1,1 stage_widths=8,8 stem_width=8 --length 1ep",
    "finetune": "--length 1ep",
    "explain": "",
}


def blocks(language: str) -> list[str]:
    found = BLOCK.findall((ROOT / "README.md").read_text())
    return [text for name, text in found if name == language]


def commands() -> list[list[str]]:
    """All command lines of the README, split into words."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [line for line in words if line]


def ours() -> list[list[str]]:
    return [line[1:] for line in commands() if Path(line[0]).name == "tlearn"]


def flat(root: Path, source: Path) -> None:
    """Class folders without splits."""
    for folder in source.iterdir():
        shutil.copytree(folder, root / folder.name)


@pytest.fixture
def place(tmp_path, monkeypatch, digits_run) -> Path:
    """A folder in which everything that the README takes for granted is there."""
    made = colour_folder(tmp_path / "made")
    for name, split in (("pictures", "train"), ("mine", "train"), ("held-out", "test")):
        flat(tmp_path / name, made / split)
    from PIL import Image

    Image.open(made / "test" / "red" / "0.png").save(tmp_path / "photo.jpg")
    shutil.copytree(digits_run, tmp_path / "runs" / "quickstart" / "source")
    small_texts.bert_folder(tmp_path / "minilm")
    small_texts.reviews(tmp_path / "reviews")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_run():
    assert len(blocks("python")) >= 1
    verbs = {line[0] for line in ours()}
    assert verbs >= {"quickstart", "pretrain", "finetune", "evaluate", "predict", "extract"}
    assert not set(BLOCK.findall((ROOT / "README.md").read_text())[0]) & {"sh", "console", "py"}


def test_python_runs(place, capsys):
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
    shown = capsys.readouterr().out
    assert "accuracy" in shown


def test_command_lines_run(place, capsys):
    for line in ours():
        verb = line[0]
        if verb == "quickstart":
            continue
        extra = [] if "--resume" in line else shlex.split(SMALL.get(verb, ""))
        assert main([*line, *extra]) == 0, (line, capsys.readouterr().err)
    assert (place / "runs" / "mine" / "report.html").is_file()


def test_the_quickstart_takes_its_options():
    from tlearn.cli.options import read
    from tlearn.runs.quickstart import Quickstart

    (line,) = [line for line in ours() if line[0] == "quickstart"]
    options = read(Quickstart, line[1:], verb="quickstart", about="")
    assert options.out == "runs/quickstart"


def test_extras_and_links_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text()
    for extras in re.findall(r"-e '\.\[([\w,]+)\]'", readme):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("http") or (ROOT / target).exists(), target
