"""Models without a lock: the Hub is asked once for the whole run, before any connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from fleet import hub, unlocked
from fleet.catalogue import OURS, Catalogue
from fleet.models import ModelLock
from fleet.problems import SettingsError
from fleet.serve import HubSettings


class Locks:
    """The locks that are made for one run, and why others could not be."""

    def __init__(self) -> None:
        self.made: dict[str, ModelLock] = {}
        self.refused: dict[str, str] = {}

    def catalogue(self, data: Mapping[str, object]) -> Catalogue:
        """Where a host with ``data`` looks up modes and models.

        A model that several hosts serve is locked once, as the first of them asks, so that all of
        them serve the same commit.
        """
        try:
            asked = HubSettings(**{k: data[k] for k in HubSettings.model_fields if k in data})  # type: ignore[arg-type]
        except ValidationError:
            return OURS  # the keys themselves are wrong: told with all other mistakes
        if asked.require_locks:
            return OURS
        for repo in unlocked.wanted(data):
            if repo not in self.made and repo not in self.refused:
                self._lock(repo, asked, data.get("extra_ca"))
        return Catalogue(extra=self.made, refused=self.refused)

    def _lock(self, repo: str, asked: HubSettings, authority: object) -> None:
        try:
            lock = hub.make_lock(_hub(asked, authority), repo)
        except SettingsError as error:
            self.refused[repo] = error.problems[0]
            return
        self.made[repo] = lock
        print(
            f"{repo} has no lock: locked for this run at {lock.revision[:12]}, "
            f"{len(lock.files)} files of {lock.size / 2**20:.1f} MiB; make it permanent: "
            f"fleet lock {repo} --revision {lock.revision}",
            file=sys.stderr,
        )


def _hub(asked: HubSettings, authority: object) -> hub.Hub:
    token = Path(asked.hf_token_file).expanduser() if asked.hf_token_file else None
    trusted = Path(authority).expanduser() if isinstance(authority, str) else None
    return hub.from_environment({**os.environ, "HF_ENDPOINT": asked.hf_endpoint}, token, trusted)
