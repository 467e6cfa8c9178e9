"""Networks that carry over, one family a file.

Names resolve on first use, so that listing bodies or building a command line imports no JAX.
"""

from typing import TYPE_CHECKING

from tlearn.lazy import lazy

if TYPE_CHECKING:
    from tlearn.bodies.awd_lstm import AWDLSTM as AWDLSTM
    from tlearn.bodies.bert import Bert as Bert
    from tlearn.bodies.bit import BiT as BiT
    from tlearn.bodies.convolution import Conv as Conv
    from tlearn.bodies.convolution import conv2d as conv2d
    from tlearn.bodies.facts import ImageFacts as ImageFacts
    from tlearn.bodies.features import Features as Features
    from tlearn.bodies.features import trains as trains
    from tlearn.bodies.gpt import GPT as GPT
    from tlearn.bodies.mobilenet_v2 import MobileNetV2 as MobileNetV2
    from tlearn.bodies.registry import build as build
    from tlearn.bodies.registry import create as create
    from tlearn.bodies.registry import describe as describe
    from tlearn.bodies.registry import names as names
    from tlearn.bodies.resnet import ResNet as ResNet
    from tlearn.bodies.surgery import Surgery as Surgery
    from tlearn.bodies.surgery import adapt_input_channels as adapt_input_channels
    from tlearn.bodies.surgery import resize_positions as resize_positions
    from tlearn.bodies.t5 import T5 as T5
    from tlearn.bodies.vit import ViT as ViT
    from tlearn.bodies.word_vectors import WordVectors as WordVectors

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AWDLSTM": "awd_lstm",
        "Bert": "bert",
        "BiT": "bit",
        "Conv": "convolution",
        "Features": "features",
        "GPT": "gpt",
        "ImageFacts": "facts",
        "MobileNetV2": "mobilenet_v2",
        "ResNet": "resnet",
        "Surgery": "surgery",
        "T5": "t5",
        "ViT": "vit",
        "WordVectors": "word_vectors",
        "adapt_input_channels": "surgery",
        "build": "registry",
        "conv2d": "convolution",
        "create": "registry",
        "describe": "registry",
        "names": "registry",
        "resize_positions": "surgery",
        "trains": "features",
    },
)
