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
SMALL_TEXTS = {
    "tokenizer": "--vocab-size 300",
    "pretrain": "--settings width=8 hidden=8 depth=1 --row-length 8 --batch-size 4 --length 1ep",
    "adapt": "--row-length 8 --batch-size 4 --length 1ep",
    "finetune": "--batch-size 8 --length 4ep",
    "generate": "--steps 3",
    "vectors": "--width 8 --epochs 1 --min-count 1",
}
"""The same of those that read a corpus, or what was learned from one."""


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


def of_corpora(line: list[str]) -> bool:
    return bool({"--objective", "--corpus", "ulmfit", "runs/adapted"} & set(line))


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
    shutil.copytree(digits_run, tmp_path / "runs" / "other")
    small_texts.averaged(small_texts.bert_folder(tmp_path / "minilm"))
    small_texts.reviews(tmp_path / "reviews")
    article = "the cat sat on the mat and it was a good film . we all went home .\n"
    for part in ("train", "valid", "test"):
        articles = (f" = Title {i} = \n\n {article * 3}\n" for i in range(12))
        (tmp_path / f"wiki.{part}.raw").write_text("\n".join(articles))
    monkeypatch.setenv("HOME", str(tmp_path))
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


def run_lines(lines, small, capsys) -> None:
    for line in lines:
        extra = [] if "--resume" in line else shlex.split(small.get(line[0], ""))
        assert main([*line, *extra]) == 0, (line, capsys.readouterr().err)


def test_command_lines_run(place, capsys):
    lines = [line for line in ours() if line[0] != "quickstart" and not of_corpora(line)]
    run_lines(lines, SMALL, capsys)
    assert (place / "runs" / "mine" / "report.html").is_file()


@pytest.mark.slow
def test_command_lines_of_corpora_run(place, capsys):
    run_lines([line for line in ours() if of_corpora(line)], SMALL_TEXTS, capsys)
    assert (place / "runs" / "judged" / "report.html").is_file()
    assert (place / "vectors.txt").is_file()


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
