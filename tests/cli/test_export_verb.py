"""`tlearn export` as it is typed."""

import pytest

from tlearn import hub
from tlearn.cli.main import main


def test_it_writes_and_lists_what_it_wrote(digits_run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(digits_run), "--format", "torch", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "model.safetensors" in shown
    assert "README.md" in shown
    assert shown.endswith(f"{out}: torch\n")
    assert hub.load(f"safetensors:{out / 'model.safetensors'}").label_names[0] == "0"


def test_platforms_are_asked_for_by_name(digits_run, tmp_path, capsys):
    command = ["export", str(digits_run), "--format", "stablehlo", "--platforms", "cpu", "tpu"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert hub.load_exported(tmp_path / "out").platforms == ("cpu", "tpu")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--platforms", "cpu"], 2, "--platforms goes with --format stablehlo, not with hf"),
        (["--format", "timm", "--length", "8"], 2, "--length goes with --format stablehlo"),
        (["--format", "stablehlo", "--length", "-1"], 2, "length is -1"),
        (["--format", "onnx"], 2, "'onnx'"),
        (["--format", "stablehlo", "--platforms", "gpu"], 2, "'gpu'"),
        ([], 1, "stem='cifar'"),
    ],
    ids=str,
)
def test_wrong_wishes_get_a_line(digits_run, tmp_path, capsys, words, code, said):
    assert main(["export", str(digits_run), "--out", str(tmp_path / "out"), *words]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_taken_folder_is_left_alone(digits_run, tmp_path, capsys):
    (tmp_path / "mine").write_text("keep")
    assert main(["export", str(digits_run), "--format", "torch", "--out", str(tmp_path)]) == 1
    assert "is not empty (mine): nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
