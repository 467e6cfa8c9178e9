"""The configs of runs: frozen, keyword-only, numbers and strings; nothing heavy is imported."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from tlearn.params.paths import nearest
from tlearn.runs.config_values import build_group
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.objective_config import problems as objective_problems
from tlearn.runs.unread import unread


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples, and how they are prepared."""

    data: str
    """The examples: a folder or file. Images: digits, mnist:DIR, idx:DIR, folder:DIR, csv:FILE,
    tar:FILE, tfds:NAME. Texts: tsv:FILE, csv:FILE, jsonl:FILE, glue:DIR, tfds:NAME. Objectives on
    a corpus: text:DIR, wikitext:FILE, tfds:NAME[@SPLIT], dataset:DATASET[@SPLIT], ..."""
    train_split: str = ""
    """Split expression of the training examples, as in train[:80%]; empty for train, or for all
    where there is one split only."""
    validation: str = "10%"
    """Share carved from training for choosing (stratified), or a split expression, or a corpus, as
    in tfds:NAME@validation; 0% for none."""
    test_split: str = ""
    """Split expression of the examples that are reported, or a corpus, read once at the end; empty
    for none."""
    classes: tuple[str, ...] = ()
    """Label names to keep; all if empty."""
    per_class: int = 0
    """Training examples per class, drawn by the seed; 0 for all."""
    labelled: int = 0
    """Training examples in all, drawn by the seed, classes in their shares; 0 for all."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder of images; each must match something."""
    augment: Literal["none", "flip", "crop", "randaugment"] = "none"
    """Random changes of training images: mirror; crop and mirror; those and RandAugment."""
    window: float = 0.0
    """Smallest share of an image that a random crop takes; 0 for 0.08, and for shifts of images up
    to 64 pixels."""
    jitter: float = 0.0
    """Strength of random brightness, contrast and saturation."""
    magnitude: float = 9.0
    """Strength of RandAugment, 0 to 30."""
    spread: float = 0.0
    """Standard deviation of that strength from operation to operation."""
    erase: float = 0.0
    """Chance of a window of noise over a training image."""
    mix: Literal["none", "mixup", "cutmix", "both"] = "none"
    """Mixing of training images and labels within a batch; both takes either by chance."""
    mixup_alpha: float = 0.2
    """Mixup's weights are from Beta(alpha, alpha)."""
    cutmix_alpha: float = 1.0
    """CutMix's likewise."""
    size: int = 0
    """Pixels of a side fed to the body; 0 for what the source was trained with."""
    crop: float = 0.0
    """Middle that images are judged by, as a share of the resized short side: 0.875 takes 224 of
    256; 0 for what the source was trained with, or all."""
    interpolation: Literal["", "bilinear", "bicubic", "nearest"] = ""
    """How images are resized; empty for what the source was trained with, or bilinear."""
    pixels: Literal["auto", "half", "imagenet"] = "auto"
    """Scale of pixels for a new body: half is -1 to 1; imagenet that set's mean and deviation."""
    channels: Literal["strict", "convert", "adapt"] = "strict"
    """When images have other channels than the source saw: refuse; convert the images; or adapt
    the body's first kernel."""
    workers: int = 0
    """Processes that decode images; 0 decodes in a thread of this one."""
    text_column: str = ""
    """Column of the texts, by name or number from 1; empty for the usual names."""
    errors: Literal["strict", "replace"] = "strict"
    """Whether bytes of a corpus that are no UTF-8 are refused or replaced."""
    pair_column: str = ""
    """Column of the second texts, where examples are pairs."""
    label_column: str = ""
    """Column of the labels."""
    labels: Literal["auto", "class", "number"] = "auto"
    """Whether labels of texts are names of classes, or numbers to estimate; auto looks at them."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether a table's first line names its columns; auto looks at it."""
    metrics: tuple[str, ...] = ()
    """Figures of whole parts of texts: accuracy, f1, f1:LABEL, macro_f1, matthews, or pearson and
    spearman of numbers; what a GLUE task reports if empty."""
    max_length: int = 0
    """Tokens of the longest text, longer ones are cut; 0 for what the body can take."""
    widths: str = "auto"
    """Tokens that batches of texts are padded to: auto, one number, or several as 16,32,64."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BodyConfig:
    """The body: which one, where there is no source, and what is changed of it."""

    body: str = "resnet20"
    """Name of the body where there is no source, as in resnet20, resnet50, mobilenet_v2."""
    settings: tuple[str, ...] = ()
    """Changes to it, or to the source's body, as field=value: stage_widths=8,16,32 dropout=0.2."""
    tokenizer: str = ""
    """Folder of the tokenizer of a text body (tokenizer.json, vocab.txt, ...)."""
    pooling: Literal["", "pooler", "first", "mean", "max", "last"] = ""
    """How a text body makes one vector of a text; empty for what its source or kind does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The head."""

    head: Literal["linear", "mlp", "cosine", "ulmfit", "published"] = "linear"
    """Kind of head; published is what the source's own library has, with the pooling that it reads,
    so that export can write it. An objective on a corpus brings its own."""
    head_weights: Literal["fresh", "source"] = "fresh"
    """Draw the head anew, or keep the source's as it is (the label names must agree)."""
    head_init: Literal["zeros", "scaled"] = "zeros"
    """How its last layer starts."""
    head_dropout: float = 0.0
    """Share of the features dropped before the head in training; a source's head that is kept
    keeps its own at 0."""
    smoothing: float = 0.0
    """Label smoothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """What is drawn afresh, frozen, trained, at which rate, and pulled how hard."""

    freeze: str = "none"
    """none, body, bottom:K, or rules PATTERN=frozen;PATTERN=free over parameter paths."""
    fresh: str = ""
    """Body layers to draw afresh: top:K, names separated by commas, or all (from scratch)."""
    unfreeze: Literal["none", "gradual", "chain-thaw", "head-first"] = "none"
    """Stages: one more layer an epoch from the top; one layer at a time; the head first."""
    stage_epochs: float = 1.0
    """Epochs of each stage but the last."""
    layer_decay: float = 1.0
    """Factor between the rates of neighbouring layers; 0.3846 is ULMFiT's 1/2.6."""
    decay_convention: Literal["zhang", "electra"] = "zhang"
    """Whether the top layer gets the factor once (zhang) or twice (electra)."""
    head_rate: float = 1.0
    """Factor of the head's rate over the body's."""
    rates: str = ""
    """Further factors of rates, PATTERN=FACTOR;... over parameter paths; others keep theirs."""
    weight_decay: float = 0.0
    """Decay toward zero of trained kernels (pulled ones get none)."""
    head_decay: float = -1.0
    """The same for the head; negative means as weight_decay."""
    norms: Literal["train", "eval"] = "train"
    """Whether trained layers normalise by the batch or by the source's running statistics."""
    pull: Literal["l2sp", "norm", "group", "l1", "fisher", "features", "logits"] = "l2sp"
    """Distance to the source: on parameters (first five) or on what is computed (last two)."""
    pull_strength: float = 0.0
    """λ of the pull; 0 for none."""
    pull_way: Literal["loss", "decoupled", "proximal"] = "loss"
    """How the pull acts: as a loss term, beside the step, or as an exact proximal step."""
    pull_layers: str = ""
    """Factors of λ by layer of the body, PATTERN=FACTOR;...; others keep λ."""
    pull_schedule: str = "constant"
    """Course of λ over the updates, as in linear or cosine."""
    fisher_data: str = ""
    """Data the source was trained on, to weigh its parameters by, for the fisher pull."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer."""

    optimizer: Literal["sgd", "adamw", "lamb", "adafactor"] = "sgd"
    """Direction of a step."""
    rate: float = 0.01
    """Peak learning rate."""
    schedule: str = "cosine"
    """Its course over the updates, as in cosine:warmup=10%, constant, slanted-triangular."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's form of it."""
    b1: float = 0.9
    """Adam's and LAMB's decay of the mean of gradients."""
    b2: float = 0.999
    """Their decay of the mean of squared gradients."""
    eps: float = 1e-8
    """Added to their denominator."""
    debias: bool = True
    """Correct their means for the start at zero; BERT's own code does not."""
    coupled_decay: bool = False
    """Add weight decay to the gradient, as SGD has it elsewhere, not beside the step."""
    clip: float = 0.0
    """Largest global gradient norm over what trains; 0 for no clip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batches, precision and bookkeeping."""

    length: str = "10ep"
    """How long: 10ep epochs, 500st steps, 20000ex examples."""
    batch_size: int = 32
    """Examples of a batch."""
    accumulate: int = 1
    """Batches per optimizer update."""
    features: Literal["each-step", "once"] = "each-step"
    """Whether what is frozen at the bottom runs in every step, or once, into the run's folder."""
    views: int = 0
    """Draws of every augmented picture to store when features are computed once."""
    ema: float = 0.0
    """Decay of averaged weights, which are then the ones evaluated; 0 for none."""
    seed: int = 0
    """Seed of initial weights, order, subsets and dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What is computed in; weights, statistics and losses stay float32."""
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """What weights are kept in that are frozen from the start; bfloat16 halves their memory."""
    remat: bool = False
    """Recompute activations in the backward pass instead of keeping them."""
    layout: Literal["replicated", "sharded"] = "replicated"
    """On several devices: copy the state to each, or split it over them."""
    devices: int = 1
    """Devices to use; 0 for all."""
    report_every: int = 10
    """Steps between lines of metrics."""
    checkpoint_every: int = 100
    """Steps between checkpoints; one is always taken at the end and on interruption."""
    keep: int = 3
    """Newest checkpoints to keep."""


BOOKKEEPING: dict[str, Any] = {
    "report_every": 10,
    "checkpoint_every": 100,
    "keep": 3,
    "workers": 0,
}
"""What only the record of a run depends on, with the values it has by default."""
LARGEST_SIZE = 4096
"""More pixels a side than this are a slip of the keyboard, and would fill the memory."""
_AT_LEAST: dict[str, dict[str, int]] = {
    "data": {
        "per_class": 0,
        "labelled": 0,
        "size": 0,
        "workers": 0,
        "max_length": 0,
        "jitter": 0,
        "magnitude": 0,
        "spread": 0,
        "erase": 0,
        "mixup_alpha": 0,
        "cutmix_alpha": 0,
    },
    "strategy": {"weight_decay": 0, "pull_strength": 0},
    "optimizer": {"clip": 0},
    "train": {
        "batch_size": 1,
        "accumulate": 1,
        "views": 0,
        "devices": 0,
        "report_every": 1,
        "checkpoint_every": 1,
        "keep": 1,
    },
}
_SHARES = (
    ("head", "head_dropout"),
    ("head", "smoothing"),
    ("optimizer", "momentum"),
    ("optimizer", "b1"),
    ("optimizer", "b2"),
    ("train", "ema"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run: pre-training if there is no source, transfer if there is."""

    data: DataConfig
    """The data."""
    source: str = ""
    """Weights to start from, or empty: run:FOLDER; hf:FOLDER, hf:ORG/NAME;
    timm:FOLDER, timm:NAME.TAG; tf:FOLDER, tfhub:HANDLE, kaggle:HANDLE;
    torch:FILE, safetensors:FILE, npz:FILE; glove:FILE, word2vec:FILE."""
    body: BodyConfig = BodyConfig()
    """The body, when there is no source."""
    head: HeadConfig = HeadConfig()
    """The head."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """The objective."""
    strategy: StrategyConfig = StrategyConfig()
    """The strategy."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer."""
    train: TrainConfig = TrainConfig()
    """The training."""

    def __post_init__(self):
        problems = [*objective_problems(self.objective), *unread(self)]
        for group, limits in _AT_LEAST.items():
            for name, least in limits.items():
                value = getattr(getattr(self, group), name)
                if not least <= value < math.inf:
                    problems.append(f"{name} is {value}; it must be at least {least}")
        if self.data.size > LARGEST_SIZE:
            problems.append(f"size is {self.data.size}; it must be at most {LARGEST_SIZE}")
        for group, name in _SHARES:
            value = getattr(getattr(self, group), name)
            if not 0 <= value < 1:
                problems.append(f"{name} is {value}; it must be in [0, 1)")
        if not 0 < self.optimizer.rate < math.inf:
            problems.append(f"rate is {self.optimizer.rate}; it must be above 0")
        if self.strategy.pull == "fisher" and bool(self.strategy.pull_strength) != bool(
            self.strategy.fisher_data
        ):
            problems.append("the fisher pull needs both pull_strength above 0 and fisher_data")
        if self.strategy.pull != "fisher" and self.strategy.fisher_data:
            problems.append(f"fisher_data is for pull=fisher, and pull is {self.strategy.pull}")
        if self.objective.language_loss and self.train.features == "once":
            problems.append(
                "language_loss needs whole texts in every step; give features=each-step"
            )
        if self.objective.consistency and self.train.features == "once":
            problems.append(
                "consistency compares passes with other dropout, and features=once computes a "
                "body once; give features=each-step"
            )
        if self.objective.language_loss and self.strategy.freeze == "body":
            problems.append("language_loss teaches the body, and freeze=body keeps it as it is")
        if self.head.head_weights == "source" and not self.source:
            problems.append("head_weights=source needs a source")
        if self.strategy.pull_strength > 0 and not self.source:
            problems.append("a pull needs a source to pull to; give source, or pull_strength 0")
        if problems:
            raise ValueError("this run cannot be made:\n  " + "\n  ".join(problems))


def to_json(config: RunConfig) -> dict[str, Any]:
    """The config as nested JSON-able values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(values: Mapping[str, Any]) -> RunConfig:
    """Builds a config from what `to_json` gave.

    Raises:
        ValueError: Naming every unknown key, with the nearest known one, every value of another
            type, and all that is missing.
    """
    problems: list[str] = []
    config = build_group(RunConfig, values, "", problems)
    if problems:
        raise ValueError("this config does not fit:\n  " + "\n  ".join(problems))
    return config


def replace(config: RunConfig, **changes: Any) -> RunConfig:
    """Changes fields by name, wherever they are nested: ``replace(config, rate=0.1)``.

    Raises:
        ValueError: Naming all that are no field of a run, with the nearest that are.
    """
    own = {field.name for field in dataclasses.fields(config)}
    homes = {
        field.name: group.name
        for group in dataclasses.fields(config)
        if dataclasses.is_dataclass(getattr(config, group.name))
        for field in dataclasses.fields(getattr(config, group.name))
    }
    groups: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    unknown = []
    for name, value in changes.items():
        if name in homes and not dataclasses.is_dataclass(value):
            groups.setdefault(homes[name], {})[name] = value
        elif name in own:
            top[name] = value
        else:
            unknown.append(f"{name!r} (closest: {nearest(name, [*homes, *own])})")
    if unknown:
        raise ValueError(f"no field of a run is called {', '.join(unknown)}")
    for group, values in groups.items():
        top[group] = dataclasses.replace(top.get(group, getattr(config, group)), **values)
    return dataclasses.replace(config, **top)


def diff(a: RunConfig, b: RunConfig) -> list[str]:
    """Lists the fields in which two configs differ, as ``group.field: old -> new``."""
    left, right = to_json(a), to_json(b)
    lines = []
    for group, old in left.items():
        new = right[group]
        if isinstance(old, dict):
            lines += [f"{group}.{k}: {v!r} -> {new[k]!r}" for k, v in old.items() if v != new[k]]
        elif old != new:
            lines.append(f"{group}: {old!r} -> {new!r}")
    return lines
