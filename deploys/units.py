"""systemd units brought to run, judged by what runs and not by what a run changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.operation import operation

from deploys.host_state import current, forget
from deploys.operations import Commands
from fleet.settings import Settings
from fleet.snapshot import Snapshot

AT_BOOT = ("enabled", "static", "indirect", "generated", "alias", "enabled-runtime")


def stale(snapshot: Snapshot, unit: str, files: Collection[str]) -> bool:
    """It runs, but was started before one of its files was last written."""
    found = snapshot.units.get(unit)
    if found is None or found.started is None or found.ActiveState != "active":
        return False
    times = [snapshot.files[path].mtime for path in files if path in snapshot.files]
    return any(time > found.started for time in times)


def idle(snapshot: Snapshot, unit: str) -> bool:
    """It is installed, its conditions allow it, and it does not run or would not after a boot."""
    found = snapshot.units.get(unit)
    if found is None or found.LoadState != "loaded" or found.unwanted_here:
        return False
    return found.ActiveState != "active" or found.UnitFileState not in AT_BOOT


@operation()
def running(settings: Settings, units: Mapping[str, Collection[str]]) -> Commands:
    """Each unit (→ the files it reads at its start) runs, with those files, now and after a boot.

    A unit that is not installed, or that this machine's systemd keeps off, is left alone.
    """
    now = current(settings)
    down = [unit for unit in units if idle(now, unit)]
    old = [unit for unit, files in units.items() if stale(now, unit, files)]
    if any(unit.NeedDaemonReload == "yes" for unit in (now.units.get(u) for u in units) if unit):
        forget()
        yield StringCommand("systemctl", "daemon-reload")
    if not down and not old:
        host.noop("they run")
        return
    forget()
    if down:
        yield StringCommand("systemctl", "enable", "--now", "--quiet", *map(QuoteString, down))
    if old:
        yield StringCommand("systemctl", "restart", *map(QuoteString, old))
