"""The house: who may know whom, what may be imported when, and what no file may hold.

The rule for rooms is read off the source text, so that an import inside a function counts too.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tlearn"

# A room may import from its own row and from rows above it. `model`, `replaced` and `two_passes`
# join a body and a head, `lazy` resolves names on first use, `tracing` holds the garbage collector
# back; `tlearn/__init__.py` only passes names on and belongs to no row.
ROWS = (
    {"params", "lazy", "tracing"},
    {"bodies", "heads", "hub", "transfer", "model", "replaced", "two_passes"},
    {"objectives", "train", "generation"},
    {"tasks", "studies"},
    {"runs"},
    {"cli"},
)
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
ROOMS = {*RANK, "data"}

# Imported where they are used, never when a module is loaded.
IN_FUNCTIONS_ONLY = {
    "PIL",
    "matplotlib",
    "orbax",
    "rich",
    "scipy",
    "sklearn",
    "tensorboardX",
    "tensorflow_datasets",
    "transformers",
}
HEAVY = ("flax", "jax", "matplotlib", "optax", "orbax", "sklearn", "tensorflow_datasets")
HEAVY += ("transformers",)
REGISTERED = re.compile(r"tlearn(\.\w+)+:\w+")


def files(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room a file belongs to: its folder, or its own name directly in the package."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module or member with its line, and every "module:attribute" of a registry."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if REGISTERED.fullmatch(node.value):
                yield node.value.replace(":", "."), node.lineno


def when_loaded(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: no function bodies, no type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from when_loaded(child)


def parsed() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text("utf-8"))) for path in files()]


def edges() -> list[tuple[str, str, str]]:
    """(room, room it imports, where)."""
    found = []
    for path, tree in parsed():
        for name, line in imports(tree):
            parts = name.split(".")
            if parts[0] == "tlearn" and len(parts) > 1 and parts[1] in ROOMS:
                found.append((room_of(path), parts[1], f"{path.relative_to(ROOT)}:{line} {name}"))
    return [edge for edge in found if edge[0] != "__init__"]


def forbidden(room: str, other: str) -> bool:
    if room == other:
        return False
    if room == "data":
        return True
    if other == "data":
        return room == "params"
    return RANK[other] > RANK[room]


def test_every_room_has_its_place():
    rooms = {room_of(path) for path in files()} - {"__init__"}
    assert rooms == ROOMS


def test_imports_point_one_way():
    wrong = [f"{where}: {a} may not know {b}" for a, b, where in edges() if forbidden(a, b)]
    assert not wrong, "\n".join(wrong)


def test_the_rule_would_notice():
    # What the two tests above were tried with: an upward import, one by a registry's string.
    tree = ast.parse('def f():\n from tlearn.train import loop\nX = "tlearn.cli.main:main"')
    assert {name for name, _ in imports(tree)} == {"tlearn.cli.main.main", "tlearn.train.loop"}
    assert forbidden("bodies", "train")
    assert forbidden("data", "params")
    assert forbidden("params", "data")
    assert not forbidden("runs", "data")
    assert not forbidden("train", "transfer")


def test_no_two_rooms_know_each_other():
    known: dict[str, set[str]] = {room: set() for room in ROOMS}
    for room, other, _ in edges():
        if room != other:
            known[room].add(other)
    while free := [room for room, others in known.items() if not others]:
        for room in free:
            del known[room]
        for others in known.values():
            others.difference_update(free)
    assert not known, f"rooms that import each other in a circle: {known}"


def test_params_knows_only_jax_and_numpy():
    allowed = {"jax", "numpy", "tlearn", *sys.stdlib_module_names}
    for path, tree in parsed():
        if room_of(path) == "params":
            outside = {name.split(".")[0] for name, _ in imports(tree)} - allowed
            assert not outside, f"{path.name} imports {outside}"


def test_torch_and_tensorflow_are_never_imported():
    for path, tree in parsed():
        tops = {name.split(".")[0] for name, _ in imports(tree)}
        assert not tops & {"torch", "torchvision", "tensorflow"}, path


def test_heavy_packages_are_imported_where_used():
    wrong = []
    for path, tree in parsed():
        for node in when_loaded(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                tops = {name.split(".")[0] for name, _ in imports(node)}
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno} {tops}"] * bool(
                    tops & IN_FUNCTIONS_ONLY
                )
    assert not wrong, "\n".join(wrong)


def loaded_by(code: str) -> set[str]:
    """The heavy packages a fresh interpreter has loaded after the code."""
    tail = f"\nimport sys; sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("\n")[-1].split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["finetune", "--help"]])
def test_the_command_line_opens_without_heavy_packages(arguments):
    code = "import sys; from tlearn.cli.main import main"
    if arguments:
        code += f"\nsys.argv = ['tlearn', *{arguments!r}]\ntry:\n  main()\nexcept SystemExit: pass"
    assert loaded_by(code) == set()


def test_import_tlearn_costs_no_more_than_jax_flax_and_optax():
    assert loaded_by("import tlearn") <= {"jax", "flax", "optax"}


def test_experiments_use_public_names_only():
    for path in files(ROOT / "experiments"):
        for name, line in imports(ast.parse(path.read_text("utf-8"))):
            parts = name.split(".")
            if parts[0] == "tlearn":
                private = [part for part in parts if part.startswith("_")]
                assert not private, f"{path.relative_to(ROOT)}:{line} reaches for {name}"


def test_no_asserts_prints_or_unfinished_work():
    wrong = []
    for path, tree in parsed():
        where = path.relative_to(ROOT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                wrong.append(f"{where}:{node.lineno} assert")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                wrong.append(f"{where}:{node.lineno} print")
            if isinstance(node, ast.Raise) and "NotImplemented" in ast.unparse(node):
                wrong.append(f"{where}:{node.lineno} NotImplementedError")
        text = path.read_text("utf-8")
        wrong += [f"{where} {word}" for word in ("TODO", "FIXME", "XXX") if word in text]
        wrong += [f"{where} bare 'type: ignore'"] * bool(re.search(r"type: ignore(?!\[)", text))
    assert not wrong, "\n".join(wrong)


def test_files_are_of_a_size_and_named_for_a_job():
    for path in files():
        assert path.stem not in {"utils", "util", "common", "helpers", "misc"}, path
        lines = path.read_text("utf-8").count("\n")
        assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: split it"


def test_every_module_says_what_it_is_for():
    silent = [str(path.relative_to(ROOT)) for path, tree in parsed() if not ast.get_docstring(tree)]
    assert not silent


def test_the_package_is_marked_typed_and_licensed():
    assert (PACKAGE / "py.typed").exists()
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 60
