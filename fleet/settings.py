"""The wanted state of one host: plain host data, its mode and its model, joined once and checked.

Pure: reads modes/ and models/ of this repository, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from fleet import models, modes, rules
from fleet.case import case
from fleet.host import HostSettings
from fleet.models import ModelLock
from fleet.modes import Mode
from fleet.problems import SettingsError, explain
from fleet.serve import ServeSettings
from fleet.speculators import Speculation
from fleet.waves import RolloutSettings

__all__ = ["Data", "Settings", "SettingsError", "load", "own_keys"]

_T = TypeVar("_T")
_PYINFRA = ("_", "ssh_", "fake_")  # prefixes of pyinfra's own data keys


class Data(HostSettings, ServeSettings, RolloutSettings):
    """Every key a person may set for a host, in an inventory, group data or by --data."""


class Settings(Data):
    """Data of one host, with the mode and the model it names."""

    host: str
    mode: Mode
    model: ModelLock
    speculation: Speculation | None = None

    @property
    def locks(self) -> tuple[ModelLock, ...]:
        """Every model the server reads: the model, and the draft model if there is one."""
        draft = self.speculation.draft if self.speculation else None
        return (self.model, draft) if draft else (self.model,)


@dataclass(frozen=True)
class Catalogue:
    """Where modes and models are looked up."""

    modes: Path = modes.MODES
    models: Path = models.MODELS


def own_keys(data: Mapping[str, object]) -> dict[str, object]:
    """``data`` without the keys that are pyinfra's own."""
    return {key: value for key, value in data.items() if not key.startswith(_PYINFRA)}


def load(
    host: str,
    data: Mapping[str, object],
    where: Callable[[str], str],
    *,
    gpus: int = 1,
    catalogue: Catalogue = Catalogue(),
) -> Settings:
    """Host data as Settings, or SettingsError with a line for every mistake of the host at once.

    ``where(key)`` names the file (or --data) a key came from; for a key that is missing, the file
    it belongs in. ``gpus`` are the GPUs of the host's replica.
    """
    problems: list[str] = []
    own = own_keys(data)
    flat = _collect(problems, lambda: _flat(own, where))
    mode = _collect(problems, lambda: _mode(own, where, catalogue))
    model = _collect(problems, lambda: _model(own, where, catalogue))
    if flat is None or mode is None or model is None:
        raise SettingsError(*problems)
    speculation = _collect(problems, lambda: rules.speculation(flat, mode, where, catalogue.models))
    joined = _collect(problems, lambda: case(flat, mode, model, speculation, gpus=gpus))
    problems += rules.problems(joined, where) if joined else []
    if problems:
        raise SettingsError(*problems)
    return Settings(host=host, mode=mode, model=model, speculation=speculation, **dict(flat))


def _collect(problems: list[str], step: Callable[[], _T | None]) -> _T | None:
    try:
        return step()
    except SettingsError as error:
        problems += error.problems
        return None


def _flat(own: Mapping[str, object], where: Callable[[str], str]) -> Data:
    try:
        return Data.model_validate(own)
    except ValidationError as error:
        raise SettingsError(*explain(error, Data, where)) from None


def _mode(own: Mapping[str, object], where: Callable[[str], str], files: Catalogue) -> Mode | None:
    name = own.get("vllm_mode")
    if not isinstance(name, str):
        return None  # told by _flat
    return modes.load(name, files.modes, place=where("vllm_mode"))


def _model(
    own: Mapping[str, object], where: Callable[[str], str], files: Catalogue
) -> ModelLock | None:
    name = own.get("vllm_model")
    try:
        repo = models.repo_name(name) if isinstance(name, str) else None
    except ValueError:
        return None  # told by _flat
    return models.load(repo, files.models, place=where("vllm_model")) if repo else None
