"""What is served: ``models/<org>--<name>.yaml``, a Hub repository pinned to one commit."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from fleet import yamlfile
from fleet.problems import SettingsError, suggestion
from fleet.strict import Strict

MODELS = Path(__file__).parent.parent / "models"
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def repo_name(value: str) -> str:
    """``value`` if it is the name of a Hub repository, ORG/NAME."""
    if not _REPO.fullmatch(value) or ".." in value or "--" in value or value.endswith(".git"):
        raise ValueError("allowed: ORG/NAME, a repository of the Hub")
    return value


def file_path(value: str) -> str:
    """``value`` if it is a path that stays inside the repository it belongs to."""
    parts = value.split("/")
    if not value.isprintable() or "\\" in value or len(value) > 512:
        raise ValueError("allowed: a printable path with forward slashes")
    if not value or any(part in ("", ".", "..") for part in parts):
        raise ValueError("allowed: a path inside the repository")
    return value


def _whole(files: tuple[LockedFile, ...]) -> tuple[LockedFile, ...]:
    paths = [file.path for file in files]
    if len(set(paths)) != len(paths):
        raise ValueError("allowed: every path once")
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if clash := folders.intersection(paths):
        raise ValueError(f"allowed: a path is a file or a folder, not both: {min(clash)}")
    return files


Repo = Annotated[str, AfterValidator(repo_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class LockedFile(Strict):
    """One file of the repository at the locked commit."""

    path: Annotated[str, AfterValidator(file_path)]
    size: int = Field(ge=0, lt=2**63, description="Bytes")
    sha256: Sha256


class ModelLock(Strict):
    """A Hub repository at one commit: every file, and what config.json says that matters."""

    repo: Repo = Field(description="ORG/NAME on the Hub")
    revision: Commit = Field(description="the commit, 40 hexadecimal digits")
    files: Annotated[tuple[LockedFile, ...], Field(strict=False), AfterValidator(_whole)] = Field(
        min_length=1, description="every file with size and sha256"
    )
    config: dict[str, Any] = Field(
        default={}, description="the parts of config.json that decide memory and kernels, verbatim"
    )

    golden: dict[str, str] | None = Field(
        default=None, description="greedy answers of a proved server, by prompt"
    )

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> str:
        """Its folder in a Hub cache: ``models--ORG--NAME``."""
        return "models--" + self.repo.replace("/", "--")

    @property
    def snapshot(self) -> str:
        """Where a server finds it, relative to the cache: folder/snapshots/commit."""
        return f"{self.folder}/snapshots/{self.revision}"


def file_name(repo: str) -> str:
    """The name of the lock of ``repo`` in models/."""
    return repo.replace("/", "--") + ".yaml"


def names(models: Path = MODELS) -> list[str]:
    """The models that have a lock, as ORG/NAME, sorted."""
    found = [path.stem.replace("--", "/", 1) for path in models.glob("*--*.yaml")]
    return sorted(name for name in found if _REPO.fullmatch(name))


def is_locked(repo: str, models: Path = MODELS) -> bool:
    """Whether ``repo`` has a lock."""
    return repo in names(models)


def load(
    repo: str, models: Path = MODELS, *, place: str = "vllm_model", key: str = "vllm_model"
) -> ModelLock:
    """The lock of ``repo``; SettingsError names the mistake, or the command that makes the lock.

    ``place`` and ``key`` say who asked for it.
    """
    try:
        path = models / file_name(repo_name(repo))
    except ValueError as error:
        raise SettingsError(f"{place}: {key}: found {repo[:200]!r}, {error}") from None
    if not path.is_file():
        near = suggestion(repo, names(models))
        raise SettingsError(
            f"{place}: {key}: found {repo!r}, allowed: a model with a lock in models/{near}"
            f"{';' if not near else ''} make one with: fleet lock {repo}"
        )
    lock = yamlfile.load(ModelLock, path, f"models/{path.name}")
    if lock.repo != repo:
        raise SettingsError(f"models/{path.name}: repo: found {lock.repo!r}, allowed: {repo!r}")
    return lock
