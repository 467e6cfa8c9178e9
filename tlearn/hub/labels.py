"""Label names that published checkpoints leave out."""

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""CIFAR-10's classes in the order of its labels."""

IMAGENET_KNOWN = {309: "bee", 310: "ant"}
"""Classes of the 1000-class ImageNet (ILSVRC 2012) by number: those our examples ask for."""
