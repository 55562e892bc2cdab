"""Everything about one host's server that a rule may look at, joined once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.combine import arguments, environment
from fleet.model_config import ModelConfig, read_config
from fleet.models import ModelLock, file_name
from fleet.modes import Mode
from fleet.serve import ServeSettings
from fleet.speculators import Speculation

Finding = tuple[str, str]  # key of a setting, or args.<name>; and what is wrong
Rule = Callable[["Case"], Iterator[Finding]]


@dataclass(frozen=True)
class Case:
    """Everything a rule may look at. ``config`` is None where the lock has no facts."""

    settings: ServeSettings
    mode: Mode
    model: ModelLock
    config: ModelConfig | None
    speculation: Speculation | None
    args: Mapping[str, Any]
    env: Mapping[str, str]
    gpus: int

    @property
    def moe(self) -> bool | None:
        """Whether the model is a mixture of experts; None where that is not known."""
        return None if self.config is None else self.config.experts is not None

    @property
    def mla(self) -> bool | None:
        """Whether the model has multi-head latent attention; None where that is not known."""
        return None if self.config is None else self.config.latent is not None

    @property
    def backend(self) -> str:
        """The attention backend asked for, in capitals, or nothing."""
        nested = self.args.get("attention-config")
        inner = nested.get("backend") if isinstance(nested, dict) else None
        return str(self.args.get("attention-backend") or inner or "").upper()


def case(
    settings: ServeSettings,
    mode: Mode,
    model: ModelLock,
    speculation: Speculation | None,
    *,
    gpus: int,
) -> Case:
    """All that the rules look at; SettingsError if the lock's facts make no sense."""
    config = facts(model)
    return Case(
        settings=settings,
        mode=mode,
        model=model,
        config=config,
        speculation=speculation,
        args=arguments(settings, mode, config),
        env=environment(settings, mode),
        gpus=gpus,
    )


def facts(model: ModelLock) -> ModelConfig | None:
    """What the lock says of the model, or None where it says nothing."""
    if not model.config:
        return None
    return read_config(model.config, f"models/{file_name(model.repo)}: config")
