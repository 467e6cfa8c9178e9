"""The documentation inside Python's source files, read without importing what it documents."""

import ast
import importlib.util
import inspect
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tlearn.data.errors import DataError

STDLIB = "stdlib"
"""What the standard library is called among packages."""
_LEFT_OUT = frozenset(
    "__pycache__ test tests idle_test idlelib lib2to3 ensurepip turtledemo site-packages "
    "dist-packages conftest.py _vendor _vendored externals pydoc_data".split()
)
"""Folders and files that are tests, copies of other packages, or read in another way."""
_TOPICS = Path("pydoc_data") / "topics.py"
_QUOTES = (b'"""', b"'''")
_ROLE = re.compile(r"(?::[\w.+-]+)+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`")
_LITERAL = re.compile(r"``?([^`]+)``?_{0,2}")
_SLOT = re.compile(r"%\(\w+\)s")
_ITEM = re.compile(r"(?:[-*•]|\d+[.)])\s")
SECTION = re.compile(
    r"(?:Parameters|Arguments|Args|Returns?|Yields?|Raises|Warns|Attributes|Methods|Examples?|Notes?"
    r"|References|See Also|Other Parameters|Keyword Arguments|Usage)\s*:?"
)
"""Headings of the usual sections of a docstring."""


class Described(NamedTuple):
    """What is said of one module, class or function.

    Attributes:
        module: The module, as in ``scipy.stats._morestats``.
        name: The class or function, as in ``Rotation.apply``; empty for the module itself.
        text: The documentation in lines, a paragraph a line.
        callable: Whether it is a function or class.
    """

    module: str
    name: str
    text: str
    callable: bool = True

    @property
    def id(self) -> str:
        """Module and name."""
        return f"{self.module}:{self.name}" if self.name else self.module


def source_files(package: str) -> list[tuple[str, Path]]:
    """Lists the modules of a package with their source files, in the order of their paths.

    Args:
        package: ``stdlib``, an installed package (``scipy``), or a part of one (``scipy.stats``).

    Raises:
        DataError: If it is not installed, or has no source files.
    """
    top, _, rest = package.partition(".")
    if top == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        prefix = ""
    else:
        spec = importlib.util.find_spec(top) if top.isidentifier() else None
        if spec is None:
            raise DataError(
                f"embedded:{package}: there is no package {top!r} here; install it, or name one "
                f"that is: embedded:{STDLIB}, embedded:numpy, embedded:scipy, ..."
            )
        if not spec.submodule_search_locations:
            origin = Path(spec.origin or "")
            root, prefix = origin.parent, ""
            if origin.suffix == ".py" and not rest:
                return [(top, origin)]
        else:
            root, prefix = Path(next(iter(spec.submodule_search_locations))), f"{top}."
    found = []
    for file in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        inside = file.relative_to(root)
        if _LEFT_OUT.isdisjoint(inside.parts) and (prefix or top == STDLIB):
            name = ".".join(inside.with_suffix("").parts)
            name = f"{prefix}{name}".removesuffix("__init__").rstrip(".")
            wanted = f"{top}.{rest}" if prefix else rest
            if not rest or name == wanted or name.startswith(f"{wanted}."):
                found.append((name, file))
    if not found:
        raise DataError(
            f"embedded:{package}: no source file of it in {root}"
            + (f"; is {rest!r} a part of {top}?" if rest else "")
        )
    return found


def topics_file() -> Path | None:
    """Python's own help topics, where they are installed."""
    file = Path(sysconfig.get_paths()["stdlib"]) / _TOPICS
    return file if file.is_file() else None


def help_topics(file: Path) -> list[Described]:
    """Reads the pages of Python's language reference that ``help()`` shows."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Dict):
            pages = ast.literal_eval(node)
            break
    else:
        pages = {}
    return [
        Described("pydoc_data.topics", name, prose(text), False) for name, text in pages.items()
    ]


def described(module: str, file: Path) -> list[Described]:
    """Reads the docstrings of a module in the order of its source; none where it is no Python."""
    data = file.read_bytes()
    if not any(quotes in data for quotes in _QUOTES):
        return []
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        # Packages ship templates and files for other versions of Python.
        return []
    return [entry for entry in _entries(tree, module, "") if entry.text]


def _entries(node: ast.AST, module: str, inside: str) -> Iterator[Described]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield Described(module, inside, prose(text), not isinstance(node, ast.Module))
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _entries(child, module, f"{inside}.{child.name}" if inside else child.name)
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _entries(child, module, inside)
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _added(child.value, module)


def _added(call: ast.Call, module: str) -> Iterator[Described]:
    """What numpy and scipy say of functions written in C: ``add_newdoc(place, name, text)``."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name != "add_newdoc":
        return
    strings = []
    for argument in call.args:
        parts = argument.elts if isinstance(argument, ast.Tuple) else [argument]
        strings += [p.value for p in parts if isinstance(p, ast.Constant)]
    strings = [text for text in strings if isinstance(text, str)]
    if len(strings) < 2:
        return
    names = strings[1:-1] or strings[:1]
    yield Described(module, ".".join(names), prose(inspect.cleandoc(strings[-1])))


def prose(text: str) -> str:
    r"""The sentences of a docstring, a paragraph a line, without examples of code and markup.

    Example:
        >>> prose("Adds two\nnumbers.\n\n>>> add(1, 2)\n3\n\nReturns\n-------\nx : int")
        'Adds two numbers.\nReturns\nx : int'
    """
    paragraphs: list[str] = []
    indent, code = -1, False
    for line in text.expandtabs().split("\n"):
        bare = line.strip()
        if bare.startswith(">>>"):
            code = True
        if not bare:
            indent, code = -1, False
            continue
        if code or bare.startswith("..") or not any(letter.isalpha() for letter in bare):
            # An example, a directive, an underline or a row of a table without words.
            indent = -1
            continue
        depth = len(line) - len(line.lstrip())
        if depth == indent and not _ITEM.match(bare):
            paragraphs[-1] += f" {bare}"
        else:
            paragraphs.append(bare)
        indent = -1 if SECTION.fullmatch(bare) else depth
    joined = "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return _LITERAL.sub(r"\1", _ROLE.sub(r"\1", _SLOT.sub("", joined))).replace("\0", "\ufffd")
