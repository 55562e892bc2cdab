"""Which draft makes which model faster: ``models/speculators.yaml``, written by people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from fleet import models, yamlfile
from fleet.catalogue import OURS, Catalogue
from fleet.models import ModelLock, Repo
from fleet.strict import Strict

FILE = "speculators.yaml"


class Speculator(Strict):
    """How one model is sped up by guessing tokens ahead."""

    method: Literal["eagle3", "mtp", "draft_model"] = Field(
        description="eagle3 and draft_model need a draft; mtp uses layers of the model itself"
    )
    draft: Repo | None = Field(default=None, description="ORG/NAME of the draft on the Hub")
    num_speculative_tokens: Annotated[int, Field(ge=1, le=32)] = 3
    options: dict[str, str | int | bool] = Field(
        default={}, description="Further keys of vLLM's speculative-config"
    )
    source: str = Field(min_length=1, description="Who says that the two belong together")


class _Known(RootModel[dict[Repo, Speculator]]):
    pass


class Speculation(Strict):
    """A speculator with its draft locked."""

    speculator: Speculator
    draft: ModelLock | None = None

    def config(self, hub: str) -> dict[str, Any]:
        """vLLM's ``speculative-config``; ``hub`` is the cache as the server sees it."""
        config: dict[str, Any] = {"method": self.speculator.method}
        if self.draft:
            config["model"] = f"{hub}/{self.draft.snapshot}"
        config["num_speculative_tokens"] = self.speculator.num_speculative_tokens
        return {**config, **self.speculator.options}


def method(config: Mapping[str, Any]) -> str | None:
    """The method of a ``speculative-config`` as vLLM calls it once it runs: each model's own name
    of MTP is ``mtp`` (MTPModelTypes in config/speculative.py, 0.33)."""
    named = config.get("method")
    return "mtp" if isinstance(named, str) and named.endswith("_mtp") else named


def known(folder: Path = models.MODELS) -> dict[str, Speculator]:
    """The speculators in ``folder``, by model; none where the file is absent."""
    path = folder / FILE
    return yamlfile.load(_Known, path, f"models/{FILE}").root if path.is_file() else {}


def choose(model: str, wish: str | None, folder: Path = models.MODELS) -> Speculator | None:
    """The speculator for ``model``; ``wish`` is a draft the user names, in its place."""
    found = known(folder).get(model)
    if wish is None or (found and found.draft == wish):
        return found
    return Speculator(method="eagle3", draft=wish, source="vllm_speculator")


def lock(speculator: Speculator, place: str, key: str, files: Catalogue = OURS) -> Speculation:
    """``speculator`` with its draft's lock; SettingsError names the command that makes one.

    ``place`` and ``key`` say who asked for the draft.
    """
    if speculator.draft is None:
        return Speculation(speculator=speculator)
    draft = files.lock(speculator.draft, place=place, key=key)
    return Speculation(speculator=speculator, draft=draft)
