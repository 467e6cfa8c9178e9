"""Does transfer always help? A pair where training from scratch has all it needs.

Differs from the base (ResNet-20 of CIFAR-10, `bases.resnet_to_mnist`) in its target: the digits
of scikit-learn at their own 8 pixels, with all their labels. Arms: start from nothing, from the
source, or from the source with its body frozen; 60 updates or 300, each at its own best rate.

Published: on COCO ImageNet's weights add nothing given enough updates, training gets there 2 to 3
times later; a gain appears below about 10,000 pictures (He, Girshick and Dollár 2018; read in a
transcription only). On Cars and Aircraft, training from scratch comes close to ImageNet's weights
(Kornblith et al. 2019; figures not confirmed).

    TLEARN_DATA=DIR tlearn study experiments/studies/does_transfer_always_help.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

MOVING = tuple(
    f"{start}, {length} updates" for start in ("from scratch", "transfer") for length in (300, 60)
)
FROZEN = ("frozen, 300 updates", "frozen, 60 updates")

STUDY = Study(
    name="does-transfer-always-help",
    title="Does transfer always help? ResNet-20 on digits of 8 pixels",
    question="Is anything left of a source's lead once training from scratch is long enough?",
    claim=(
        "ImageNet's weights add nothing to COCO given enough updates, and get there 2 to 3 times "
        "sooner (He, Girshick and Dollár 2018, by a transcription)."
    ),
    base=replace(
        bases.resnet_to_mnist(),
        data="digits",
        train_split="train",
        validation="15%",
        test_split="test",
        size=8,
    ),
    factors=(
        Factor(
            "start",
            {
                "from scratch": bases.SCRATCH,
                "transfer": {},
                "frozen": {"freeze": "body", "features": "once"},
            },
        ),
        Factor("updates", {"300 updates": {"length": "300st"}, "60 updates": {"length": "60st"}}),
        bases.rates(3e-3, 1e-2, 3e-2, only=MOVING),
        bases.rates(1e-2, 3e-2, 1e-1, 3e-1, only=FROZEN, name="head's rate"),
    ),
    reference="from scratch, 300 updates",
    seeds=(0, 1, 2, 3, 4, 5),
    labels=(0,),
    notes=(
        "Rate 0.03 and the frozen arms were added after a first round, whose pilots chose the "
        "larger of two, 0.01, for three arms.",
    ),
)
