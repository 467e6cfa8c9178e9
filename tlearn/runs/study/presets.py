"""Studies that need no files: small ones on the digits that come with scikit-learn."""

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor, Study

_BODY = ("stage_widths=8,16,32", "stage_blocks=1,1,1", "stem_width=8")


def digits_rates() -> Study:
    """Two optimizers on the digits, each at its own best rate: the smallest study with a choice."""
    base = replace(
        RunConfig(data=DataConfig(data="digits", test_split="test", validation="20%")),
        body="resnet20",
        settings=_BODY,
        length="60st",
        batch_size=32,
        schedule="cosine:warmup=10%",
    )
    return Study(
        name="digits-rates",
        title="Two optimizers on handwritten digits",
        base=base,
        factors=(
            Factor("optimizer", {"sgd": {"optimizer": "sgd"}, "adamw": {"optimizer": "adamw"}}),
            Factor.over("rate", (3e-3, 1e-2, 3e-2, 1e-1), role="nuisance"),
        ),
        seeds=(0, 1, 2, 3, 4),
        labels=(10, 50),
        question="Does the optimizer matter, once each has its own rate?",
    )


PRESETS = {"digits-rates": digits_rates}
