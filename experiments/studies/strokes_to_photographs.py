"""Does transfer always help? From handwritten strokes to photographs.

Differs from the base (a ViT, `bases.vit_to`) in its target: strokes of MNIST are the source, grey
photographs of CIFAR-10 (28 pixels, JPEG copies) the target. One arm starts from the source, the
other draws the same network by the seed, each at its own best rate. Beforehand no gain was
expected.

Published: no paper has this pair. Given enough updates ImageNet's weights add nothing to COCO's
detection (He, Girshick and Dollár 2018; read in a transcription only); on Cars and Aircraft,
training from scratch comes close to ImageNet's weights (Kornblith et al. 2019; figures not
confirmed). Neither has a source as far from its target as this one, nor runs as short.

    TLEARN_DATA=DIR tlearn study experiments/studies/strokes_to_photographs.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

TENTHS = "+".join(f"test[{k}%:{k + 1}%]" for k in range(0, 100, 10))
"""Pictures lie sorted by class: a hundredth of the test part out of every tenth of it."""

STUDY = Study(
    name="strokes-to-photographs",
    title="From handwritten strokes to photographs",
    question="Is a body that knows handwritten digits worth anything for photographs?",
    claim=(
        "ImageNet's weights add nothing to COCO given enough updates (He, Girshick and Dollár "
        "2018, by a transcription); no paper has this pair."
    ),
    base=replace(
        bases.vit_to(f"tar:{bases.data('cifar10_jpeg')}"),
        train_split="train",
        validation="1%",
        test_split=TENTHS,
        length="150st",
    ),
    factors=(
        Factor("start", {"transfer": {}, "from scratch": bases.SCRATCH}),
        bases.rates(3e-4, 1e-3, 3e-3),
    ),
    reference="from scratch",
    seeds=(0, 1, 2, 3, 4),
    labels=(20, 100),
    shown=100,
    notes=(
        "In 150 updates this ViT hardly learns from scratch: the lead may be one of time only.",
    ),
)
