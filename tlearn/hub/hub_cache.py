"""Folders from the Hugging Face hub and from Kaggle: a local folder first, then what is cached.

Only the files a checkpoint needs are fetched: its config, one form of its weights, its tokenizer.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlearn.hub.carried_files import inside
from tlearn.hub.checkpoint_folder import CARRIED, CONFIG, WEIGHTS
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.json_file import read_json
from tlearn.params import nearest

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
_TIMEOUT = 10.0


def hub_folder(place: str, owner: str = "") -> Path:
    """Finds or fetches the folder of a checkpoint.

    Args:
        place: A local folder, or ``org/name[@revision]``. A folder that exists is taken as it is
            and no network is touched.
        owner: Organisation of names without one: ``timm``.

    Returns:
        The folder: the local one, or the hub's cache of the revision.

    Raises:
        HubError: If there is neither; if the hub does not know or does not give it; or if the hub
            is out of reach (or ``HF_HUB_OFFLINE`` is set) and the cache does not hold it whole.
    """
    local = Path(place).expanduser()
    if local.is_dir():
        return local
    if not _NAME.fullmatch(place) or place.endswith((".git", "-", ".")) or ".." in place:
        raise HubError(
            f"{quoted(place)} is no folder here{_beside(local)}, and no name on the hub, which "
            "would be org/name or org/name@revision"
        )
    name, _, revision = place.partition("@")
    repo = f"{owner}/{name}" if owner and "/" not in name else name
    return _fetched(repo, revision or None, f"{_beside(local)}")


def _fetched(repo: str, revision: str | None, hint: str) -> Path:
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise HubError(
            f"{repo} is no folder here{hint}; to fetch it, install huggingface_hub"
        ) from error
    what = repo if revision is None else f"{repo}@{revision}"
    reason = "HF_HUB_OFFLINE is set"
    if not hub.constants.is_offline_mode():
        try:
            info = hub.HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT)
            return _download(hub, repo, revision, [f.rfilename for f in info.siblings or ()])
        except HfHubHTTPError as error:
            raise HubError(_refused(what, error, hint)) from error
        except HubError:
            raise
        except Exception as error:  # Every HTTP client has errors of its own for "no network".
            reason = f"the hub is out of reach ({type(error).__name__}: {str(error)[:120]})"
    try:
        # By one file that must be there: which others belong to it is the folder reader's matter.
        held = hub.snapshot_download(
            repo, revision=revision, local_files_only=True, allow_patterns=[CONFIG]
        )
    except (LocalEntryNotFoundError, OSError) as error:
        raise HubError(
            f"{what} is no folder here{hint} and not in the hub's cache, and {reason}: fetch it "
            f"where there is a network ('hf download {repo}'), or give the path of a copy"
        ) from error
    return Path(held)


def _download(hub: Any, repo: str, revision: str | None, names: Iterable[str]) -> Path:
    """Fetches what is needed of a repository that has these files."""
    there = set(names)
    if CONFIG not in there:
        raise HubError(f"{repo} on the hub has no {CONFIG}; it holds {sorted(there)[:10]}")
    weights = next((name for name in WEIGHTS if name in there), None)
    if weights is None:
        raise HubError(
            f"{repo} on the hub has no weights that are read here (any of {list(WEIGHTS)}); it "
            f"holds {sorted(there)[:10]}"
        )
    beside = {n for n in there if n == "README.md" or n.upper().startswith(("LICENSE", "LICENCE"))}
    wanted = sorted({CONFIG, weights, *(there & set(CARRIED)), *beside})
    folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=wanted))
    if weights.endswith(".index.json"):
        places = read_json(folder / weights).get("weight_map")
        shards = sorted(set(places.values())) if isinstance(places, dict) else []
        strange = [f"{quoted(s)} is no file of {repo}" for s in shards if s not in there]
        strange += [f"{quoted(s)} lies outside the folder" for s in shards if not inside(str(s))]
        if strange or not shards:
            raise HubError(f"{weights} of {repo} names no sound shards:\n{listed(strange)}")
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=shards))
    return folder


def _refused(what: str, error: Exception, hint: str) -> str:
    kind = type(error).__name__
    said = {
        "GatedRepoError": "its owner gives it only to those who were admitted: ask for access on "
        "its page and log in ('hf auth login')",
        "RepositoryNotFoundError": f"the hub does not know it, or it is private{hint}",
        "RevisionNotFoundError": "it has no such revision: name a branch, a tag or a commit",
    }
    return f"{what} cannot be fetched: {said.get(kind, f'{kind}: {str(error)[:200]}')}"


def kaggle_folder(place: str) -> Path:
    """Finds or fetches the folder of a model on Kaggle, where TensorFlow Hub's models moved.

    Args:
        place: A local folder, or a handle ``owner/model/framework/variation[/version]``.

    Raises:
        HubError: If it is neither, if the package kagglehub is absent, or if it cannot be fetched.
    """
    local = Path(place).expanduser()
    if local.is_dir():
        return local
    if not re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+/[\w.-]+(/\d+)?", place):
        raise HubError(
            f"{quoted(place)} is no folder here{_beside(local)}, and no handle of Kaggle, which "
            "would be owner/model/framework/variation: of a BERT, ALBERT or ELECTRA of TensorFlow, "
            "or of a Keras Sequential model"
        )
    try:
        import kagglehub
    except ImportError as error:
        raise HubError(
            f"{place} must be fetched from Kaggle: install the extra tlearn[kaggle], or fetch it "
            "yourself and give the folder's path"
        ) from error
    try:
        return Path(kagglehub.model_download(place))
    except Exception as error:  # The package lets its HTTP client's errors through.
        raise HubError(
            f"{place} cannot be fetched from Kaggle: {type(error).__name__}: {str(error)[:200]}"
        ) from error


def _beside(local: Path) -> str:
    """The nearest name in the folder where a missing one was looked for."""
    try:
        names = sorted(p.name for p in local.parent.iterdir() if p.is_dir())
    except OSError:
        return ""
    close = nearest(local.name, names, 1)
    return f" (nearest: {str(local.parent / close[0])!r})" if close else ""
