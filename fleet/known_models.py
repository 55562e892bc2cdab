"""What is known of models that have no lock: for arithmetic only, never enough to serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, RootModel

from fleet import models, yamlfile
from fleet.models import Repo
from fleet.strict import Strict

FILE = "known.yaml"


class KnownModel(Strict):
    """Facts of a model with their source."""

    weights: int = Field(gt=0, lt=2**63, description="Bytes a server loads, not less")
    source: str = Field(min_length=1, description="Who says so")
    config: dict[str, Any] = Field(default={}, description="The parts of config.json that matter")


class _Known(RootModel[dict[Repo, KnownModel]]):
    pass


def known(repo: str, folder: Path = models.MODELS) -> KnownModel | None:
    """What is known of ``repo``, or None."""
    path = folder / FILE
    return yamlfile.load(_Known, path, f"models/{FILE}").root.get(repo) if path.is_file() else None
