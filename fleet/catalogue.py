"""Where modes and models are looked up: this repository's files, and locks made for one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet import models, modes
from fleet.models import ModelLock
from fleet.problems import SettingsError


@dataclass(frozen=True)
class Catalogue:
    """``extra`` has locks that are in no file, ``refused`` why there is none, both by ORG/NAME."""

    modes: Path = modes.MODES
    models: Path = models.MODELS
    extra: Mapping[str, ModelLock] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def lock(self, repo: str, *, place: str, key: str) -> ModelLock:
        """The lock of ``repo``; SettingsError. ``place`` and ``key`` say who asked for it."""
        if repo in self.extra:
            return self.extra[repo]
        if repo in self.refused:
            raise SettingsError(
                f"{place}: {key}: {self.refused[repo]}; it has no lock in models/, so the Hub "
                f"was asked; make a lock with: fleet lock {repo}"
            )
        return models.load(repo, self.models, place=place, key=key)


OURS = Catalogue()
