"""HAProxy from the distribution, as instances of our own unit; its own service is left alone.

An instance is a folder /etc/vllm-fleet/haproxy/NAME and the unit vllm-fleet-haproxy@NAME.service.
"""

from __future__ import annotations

from collections.abc import Mapping

import layout
from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.operation import operation

from deploys import packages, programs
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, differing
from fleet import haproxy
from fleet.host_packages import installed
from fleet.settings import Settings
from fleet.snapshot import Snapshot

PACKAGE = "haproxy"
THEIRS = "haproxy.service"
NAMES = (haproxy.CONFIG, haproxy.KEYS, haproxy.CERTIFICATE, haproxy.AUTHORITY)


def unit(instance: str) -> str:
    return f"vllm-fleet-haproxy@{instance}.service"


def folder(instance: str) -> str:
    return f"{layout.HAPROXY}/{instance}"


def watch(instance: str) -> Watch:
    """What the snapshot is asked about an instance."""
    return Watch(
        files=tuple(f"{folder(instance)}/{name}" for name in NAMES),
        packages=(PACKAGE,),
        units=(unit(instance),),
    )


def unit_file() -> dict[str, File]:
    """The unit that every instance is one of."""
    return {str(layout.HAPROXY_UNIT_FILE): File((programs.FILES / layout.HAPROXY_UNIT).read_text())}


def texts(instance: str, files: Mapping[str, str]) -> dict[str, File]:
    """The instance's files by path; all of them are root's alone."""
    return {f"{folder(instance)}/{n}": File(t, "600", secret=True) for n, t in files.items()}


@operation()
def present(settings: Settings) -> Commands:
    """The package. A HAProxy that somebody runs already stays as it is."""
    if installed(current(settings), PACKAGE):
        host.noop("HAProxy is installed")
        return
    forget()
    yield from packages.install(settings, {PACKAGE: None})
    # Debian starts it with a configuration that listens nowhere.
    yield StringCommand("systemctl", "disable", "--now", "--quiet", THEIRS)


def behind(now: Snapshot, instance: str) -> bool:
    """It runs, and has not read its files as they are now."""
    found = now.units.get(unit(instance))
    if found is None or found.changed is None or found.ActiveState != "active":
        return False
    times = [now.files[p].mtime for p in watch(instance).files if p in now.files]
    return any(time > found.changed for time in times)


def serves(now: Snapshot, instance: str) -> bool:
    found = now.units.get(unit(instance))
    return found is not None and (found.ActiveState, found.UnitFileState) == ("active", "enabled")


def differs(now: Snapshot, instance: str, files: Mapping[str, str]) -> bool:
    """What lies there is not exactly these files."""
    wanted = texts(instance, files)
    more = [p for p in watch(instance).files if p in now.files and p not in wanted]
    return bool(differing(now, wanted) or more)


def bring(settings: Settings, instance: str, files: Mapping[str, str]) -> Commands:
    """The commands after which the instance runs with exactly these files; none if it does.

    ``files``: name → text, ``haproxy.CONFIG`` among them. HAProxy checks them before they are put
    in place; a reload lets answers under way end.
    """
    now = current(settings)
    wrong = differs(now, instance, files)
    if not wrong and serves(now, instance) and not behind(now, instance):
        return
    forget()
    if wrong:
        request = {"folder": folder(instance), "files": dict(files)}
        yield programs.command("haproxy_config", request)
    name = QuoteString(unit(instance))
    yield StringCommand("systemctl", "enable", "--quiet", name)
    yield StringCommand("systemctl", "reload-or-restart", name)


def take_down(settings: Settings, instance: str) -> Commands:
    """The commands after which nothing of the instance is left; none if nothing is."""
    now = current(settings)
    found = now.units.get(unit(instance))
    files = [p for p in watch(instance).files if p in now.files]
    on = found is not None and (found.ActiveState == "active" or found.UnitFileState == "enabled")
    if not files and not on:
        return
    forget()
    if on:
        name = QuoteString(unit(instance))
        yield StringCommand("systemctl", "disable", "--now", "--quiet", name)
    yield StringCommand("rm", "-rf", "--", QuoteString(folder(instance)))
