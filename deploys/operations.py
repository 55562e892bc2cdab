"""The few state changes all steps are made of: compare the snapshot, yield the difference.

An operation that is about to change the host calls ``forget`` first, so that the next one reads
the host again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import programs
from deploys.host_state import current, forget
from deploys.report import RUN
from fleet.problems import SettingsError
from fleet.settings import Settings
from fleet.snapshot import Snapshot

Commands = Generator[PyinfraCommand, None, None]
Files = TypeVar("Files")


@dataclass(frozen=True)
class File:
    """A file's wanted state; ``secret`` keeps its text out of every listing."""

    text: str
    mode: str = "644"
    owner: str = "root:root"
    secret: bool = False


@dataclass(frozen=True)
class Directory:
    """A folder's wanted state; without an ``owner`` that stays whose it is."""

    mode: str = "755"
    owner: str = "root:root"


def tell(host: Host, line: str) -> bool:
    """Say what is wrong on a host, there and in the run's report; False, as a command's status."""
    result = RUN.of(host.name)
    result.reason = result.reason or line
    host.log_styled(line, fg="red", log_func=logger.error)
    return False


def refuse(line: str) -> FunctionCommand:
    """A command that fails this host with one line."""

    def fail(state: State, host: Host) -> bool:
        return tell(host, line)

    return FunctionCommand(fail, (), {})


def differing(snapshot: Snapshot, files: Mapping[str, File]) -> dict[str, File]:
    """The files whose text, mode or owner is not as wanted."""
    return {path: file for path, file in files.items() if not _same(snapshot, path, file)}


def _same(snapshot: Snapshot, path: str, file: File) -> bool:
    found = snapshot.files.get(path)
    if found is None:
        return False
    wanted = hashlib.sha256(file.text.encode()).hexdigest()
    return (found.sha256, found.mode, f"{found.owner}:{found.group}") == (
        wanted,
        file.mode,
        file.owner,
    )


def write_command(
    files: Mapping[str, File] | None = None,
    directories: Mapping[str, Directory] | None = None,
    links: Mapping[str, str] | None = None,
    absent: Collection[str] = (),
) -> StringCommand:
    """One remote command that writes all of it, each file atomically."""
    return programs.command(
        "write_files",
        {
            "directories": [
                {"path": p, "mode": d.mode, "owner": d.owner}
                for p, d in sorted((directories or {}).items())
            ],
            "files": [
                {"path": p, "mode": f.mode, "owner": f.owner, "text": f.text}
                for p, f in sorted((files or {}).items())
            ],
            "links": [{"path": p, "target": t} for p, t in sorted((links or {}).items())],
            "absent": sorted(absent),
        },
    )


@operation()
def tree(
    settings: Settings,
    files: Mapping[str, File],
    directories: Mapping[str, Directory] | None = None,
    absent: Collection[str] = (),
    then: Collection[str] = (),
    units: Collection[str] = (),
) -> Commands:
    """Bring files and directories to the wanted state; ``then`` runs only if one differed.

    systemd is told to read its files again when it has not yet read one of ``units`` as it lies
    on disk, whoever wrote it.
    """
    now = current(settings)
    changed = differing(now, files)
    dirs = {path: dir for path, dir in (directories or {}).items() if not _is(now, path, dir)}
    gone = [path for path in absent if path in now.files]
    different = bool(changed or dirs or gone)
    stale = any(unit.NeedDaemonReload == "yes" for name in units if (unit := now.units.get(name)))
    if not different and not stale:
        host.noop(f"{len(files)} files are as wanted")
        return
    forget()
    if different:
        yield write_command(changed, dirs, absent=gone)
    if units:
        yield StringCommand("systemctl", "daemon-reload")
    for line in then if different else ():
        yield StringCommand(line)


def _is(snapshot: Snapshot, path: str, wanted: Directory) -> bool:
    found = snapshot.files.get(path)
    return found is not None and (found.kind, found.mode, f"{found.owner}:{found.group}") == (
        "dir",
        wanted.mode,
        wanted.owner or f"{found.owner}:{found.group}",
    )


def brought(
    read: Callable[[bool], Files | None],
    bring: Callable[[Files], Iterable[PyinfraCommand]],
    same: str,
) -> Commands:
    """What ``bring`` does for the files that ``read`` wants; ``same`` is said where it is nothing.

    ``read`` is told whether to make keys that are missing, as only a run that executes may; it
    returns None where they are still to be made, and raises SettingsError where they cannot be had.
    """
    try:
        wanted = read(state.is_executing)
    except SettingsError as error:
        for line in error.problems:
            yield refuse(line)
        return
    if wanted is None:
        yield FunctionCommand(_to_be_made, (), {})
        return
    commands = list(bring(wanted))
    if not commands:
        host.noop(same)
    yield from commands


def _to_be_made(state: State, host: Host) -> bool:
    """Stands in a plan for commands whose keys the run itself will make."""
    return True
