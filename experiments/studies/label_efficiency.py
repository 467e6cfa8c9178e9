"""Label efficiency: what a source is worth where labels are few.

Differs from the base (ResNet-20 of CIFAR-10 to MNIST at 16 pixels, `bases.resnet_to_mnist`) in
one thing: the arm "from scratch" draws the whole body by the seed. Each arm has its own best
rate.

Published: ULMFiT with 100 labels equals training from scratch with 10 to 20 times as many (Howard
and Ruder 2018, figure 3, on IMDb and AG). He et al. 2018: the gain appears where data are few
(below about 10,000 pictures on COCO; read in a transcription only). Here: other data, a smaller
network and short runs, equally long for both arms.

    TLEARN_DATA=DIR tlearn study experiments/studies/label_efficiency.py --out DIR
"""

import bases

from tlearn.runs.study import Factor, Study

STUDY = Study(
    name="label-efficiency",
    title="Label efficiency: from scratch against transfer",
    question="How many more labels does training from scratch need for the same accuracy?",
    claim=(
        "With 100 labels ULMFiT is as good as training from scratch with 10 to 20 times as many "
        "(Howard and Ruder 2018, figure 3)."
    ),
    base=bases.resnet_to_mnist(),
    factors=(
        Factor("start", {"transfer": {}, "from scratch": bases.SCRATCH}),
        bases.rates(3e-3, 1e-2, 3e-2),
    ),
    reference="from scratch",
    seeds=(0, 1, 2, 3, 4),
    labels=(5, 20, 100),
    shown=20,
    notes=("Runs are short and equally long: from scratch would gain from longer training.",),
)
