"""The room as a whole: what it imports, and that the examples in its docstrings are true."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tlearn.data

MODULES = sorted(f"tlearn.data.{m.name}" for m in pkgutil.iter_modules(tlearn.data.__path__))


def test_it_imports_no_other_room():
    for file in Path(tlearn.data.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in found:
                assert not name.startswith("tlearn") or name.startswith("tlearn.data."), file


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, tlearn.data; "
        "print(*sorted({m.partition('.')[0] for m in sys.modules} & {'jax', 'flax', 'PIL', "
        "'sklearn', 'tensorflow_datasets', 'tensorflow', 'torch', 'scipy', 'pandas'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_public_names_are_documented():
    for name, thing in vars(tlearn.data).items():
        if not name.startswith("_") and callable(thing):
            assert (thing.__doc__ or "").strip(), name
