"""What a host serves, with the mode and the model it names: joined once, checked by the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fleet import models, modes, rules
from fleet.case import case
from fleet.catalogue import OURS, Catalogue
from fleet.models import ModelLock
from fleet.modes import Mode
from fleet.problems import SettingsError, explain
from fleet.replicas import Rank
from fleet.serve import ServeSettings
from fleet.speculators import Speculation

Where = Callable[[str], str]
_T = TypeVar("_T")
_M = TypeVar("_M", bound=BaseModel)


class Serving(ServeSettings):
    """Everything that decides a release."""

    mode: Mode
    model: ModelLock
    speculation: Speculation | None = None
    ranks: tuple[Rank, ...] = ()

    @property
    def locks(self) -> tuple[ModelLock, ...]:
        """Every model the server reads: the model, and the draft model if there is one."""
        draft = self.speculation.draft if self.speculation else None
        return (self.model, draft) if draft and draft.repo != self.model.repo else (self.model,)


def load(
    data: Mapping[str, object],
    where: Where,
    *,
    gpus: int | None = 1,
    catalogue: Catalogue = OURS,
    lock: ModelLock | None = None,
) -> Serving:
    """The serving half of ``data`` alone, or SettingsError with a line for every mistake.

    ``gpus`` are those of the replica, None: as many as its sizes ask for. ``lock`` stands for the
    model's own, where there is none in the catalogue.
    """
    problems: list[str] = []
    flat = collect(problems, lambda: parse(ServeSettings, data, where))
    parts = collect(problems, lambda: join(data, flat, where, gpus, catalogue, lock))
    if flat is None or parts is None:
        raise SettingsError(*problems)
    return Serving(**dict(flat), **parts)


def parse(kind: type[_M], data: Mapping[str, object], where: Where) -> _M:
    """``data`` as a ``kind``; SettingsError has a line for each mistake."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SettingsError(*explain(error, kind, where)) from None


def collect(problems: list[str], step: Callable[[], _T | None]) -> _T | None:
    """The result of ``step``; where it fails, its problems are added and the result is None."""
    try:
        return step()
    except SettingsError as error:
        problems += error.problems
        return None


def join(
    data: Mapping[str, object],
    flat: ServeSettings | None,
    where: Where,
    gpus: int | None,
    catalogue: Catalogue,
    lock: ModelLock | None = None,
) -> dict[str, Any]:
    """``mode``, ``model`` and ``speculation`` of ``data``, or SettingsError.

    ``flat`` is the same data validated, None where that failed: then mode and model are looked up
    all the same, so that a person hears of every mistake at once.
    """
    problems: list[str] = []
    mode = collect(problems, lambda: _mode(data, where, catalogue))
    model = lock or collect(problems, lambda: _model(data, where, catalogue))
    if flat is None or mode is None or model is None:
        raise SettingsError(*problems)
    speculation = collect(problems, lambda: rules.speculation(flat, mode, where, catalogue))
    joined = collect(problems, lambda: case(flat, mode, model, speculation, gpus=gpus or flat.gpus))
    problems += rules.problems(joined, where) if joined else []
    if problems:
        raise SettingsError(*problems)
    return {"mode": mode, "model": model, "speculation": speculation}


def _mode(data: Mapping[str, object], where: Where, files: Catalogue) -> Mode | None:
    name = data.get("vllm_mode")
    if not isinstance(name, str):
        return None  # told when the data was validated
    return modes.load(name, files.modes, place=where("vllm_mode"))


def _model(data: Mapping[str, object], where: Where, files: Catalogue) -> ModelLock | None:
    name = data.get("vllm_model")
    try:
        repo = models.repo_name(name) if isinstance(name, str) else None
    except ValueError:
        return None  # told when the data was validated
    return files.lock(repo, place=where("vllm_model"), key="vllm_model") if repo else None
