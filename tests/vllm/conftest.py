"""The model stand-ins as a Hub cache with locks, made once for all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.serving import Catalogue
from tests.vllm import stand_ins
from tests.vllm.stand_ins import StandIn


@dataclass(frozen=True)
class Workspace:
    """``hub`` has repositories without weights, ``models`` their locks."""

    folder: Path

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(models=self.folder / "models")

    def snapshot(self, stand_in: StandIn) -> Path:
        return self.hub / stand_ins.locked(stand_in).snapshot


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("vllm"))
    (made.folder / "models").mkdir()
    stand_ins.write(made.hub, made.folder / "models")
    return made
