"""What a run was made with: versions, platform, devices, commit; nothing that names a machine."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions(*, devices: bool = True) -> dict[str, Any]:
    """Collects versions, platform, devices and the commit of a source checkout.

    Args:
        devices: Whether to ask JAX for its devices, which starts its backend.

    Returns:
        JSON-able; ``commit`` is None for an installed package, ``modified`` says whether tracked
        files differ from it.
    """
    found: dict[str, Any] = {
        "tlearn": _version("tlearn"),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}".lower(),
        **_commit(),
    }
    if devices:
        import jax

        there = jax.devices()
        found["devices"] = {
            "platform": there[0].platform,
            "kind": there[0].device_kind,
            "count": len(there),
            "processes": jax.process_count(),
        }
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    """Commit of the checkout this package is run from, if it is run from its own checkout."""
    root = Path(__file__).resolve().parents[2]
    # Without this an environment inside somebody's repository would report their commit as ours.
    if not (root / ".git").exists():
        return {"commit": None, "modified": None}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit or None, "modified": None if changes is None else bool(changes)}


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
