"""timm as an independent peer, without torchvision's compiled parts.

timm imports torchvision for picture transforms and one frozen norm, none of which its models here
use. Where torchvision is absent (its wheels are tied to one build of torch), empty stand-ins hold
its place while timm is imported, and are taken away again: other libraries look for it too.
"""

import importlib.abc
import importlib.machinery
import sys
import types

import pytest


class _Names(type):
    """Lets enumerations be enumerated: a class attribute is its own name."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = _Names(name, (), {})
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


def import_timm():
    """Imports timm, or skips the test that asked for it."""
    pytest.importorskip("torch")
    if "timm" in sys.modules:
        return sys.modules["timm"]
    try:
        import torchvision  # noqa: F401

        return pytest.importorskip("timm")
    except (ImportError, RuntimeError):
        finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        return pytest.importorskip("timm")
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
