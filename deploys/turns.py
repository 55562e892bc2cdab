"""The rollouts of this run: one by name, shared by all its hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pyinfra import host, state

from deploys import engine, members
from deploys.report import RUN
from deploys.rollout import Rollout
from fleet.settings import Settings

_rollouts: dict[str, Rollout] = {}


def rollout(settings: Settings, name: str) -> Rollout:
    """The one rollout of this run that all its hosts share."""
    if name not in _rollouts:
        active = {a.name for a in state.active_hosts} & {*members.SERVING}
        _rollouts[name] = Rollout(
            members=[h for h in RUN.results if h in active],
            canary=_canary(settings.canary),
            wave_size=settings.wave_size,
            on_failure=settings.on_failure,
            lost=lambda: {h.name for h in state.failed_hosts},
            units={n: [r.host for r in s.ranks] for n, s in engine.SETTINGS.items() if s.ranks},
        )
    return _rollouts[name]


def _canary(name: str | None) -> Collection[str]:
    """A group's hosts, or the one host of that name."""
    if name is None:
        return ()
    group = host.inventory.get_group(name, default=None)
    return [h.name for h in group] if group else (name,)


@contextmanager
def taken(settings: Settings, name: str) -> Iterator[None]:
    """The current host's part in a rollout: if it breaks off in here, no other waits for it."""
    try:
        yield
    except Exception:
        if state.is_executing:
            rollout(settings, name).absent(host.name)
        raise
