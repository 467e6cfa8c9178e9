"""`explain` never reads a source's weights: it works where they cannot be used at all."""

import shutil

import pytest
from small_runs import config

from tlearn.hub.errors import HubError
from tlearn.runs.build import build
from tlearn.runs.explain import explain


@pytest.mark.parametrize("changes", [{}, {"pull": "features", "pull_strength": 0.1}])
def test_weights_that_are_spoilt_are_not_noticed(digits_run, tmp_path, changes):
    run = tmp_path / "spoilt"
    shutil.copytree(digits_run, run)
    file = run / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[header:] = b"\xff" * (len(content) - header)
    file.write_bytes(content)
    sound, spoilt = (explain(config(place, **changes)) for place in (digits_run, run))
    plan = sound[sound.index("plan:") :]
    assert plan in spoilt
    with pytest.raises(HubError, match="is not the file that was saved"):
        build(config(run, **changes))
