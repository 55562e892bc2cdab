"""What a host holds, kept aside and given to hosts again: one deploy serves many tests."""

import shutil
import time
from pathlib import Path

from lab import hosts, lifecycle
from lab.command import run
from lab.paths import disk_dir
from lab.state import LabHost, State

PARTS = ("upper", *hosts.DISKS)
OFF_S = 60.0


def folder(shelf: str) -> Path:
    """Where it is kept: beside the labs' disks, so that it outlives them."""
    found = disk_dir(shelf).with_name(f"{shelf}.kept")
    found.mkdir(parents=True, exist_ok=True)
    return found


def place(shelf: str, state: State, name: str) -> Path:
    """Kept under ``name`` for hosts of this kind only; labs that share a shelf share it."""
    return folder(shelf) / f"{state.platform}-{state.arch}-{name}"


def keep(state: State, host: LabHost, target: Path) -> None:
    """Copy what ``host`` holds, shut down in good order, and switch it on again."""
    hosts.execute(state, host, "sudo systemctl poweroff", check=False)
    end = time.monotonic() + OFF_S
    while hosts.running(state, host) and time.monotonic() < end:
        time.sleep(0.1)
    hosts.kill(state, host)
    copy(hosts.home(state, host), target)
    hosts.start(state, host)
    hosts.wait(state, host)


def give(state: State, source: Path) -> None:
    """Every host holds what was kept, under its own name, address and keys."""

    def one(host: LabHost) -> None:
        hosts.discard(state, host)
        copy(source, hosts.home(state, host))
        lifecycle.fresh(state, host)

    lifecycle.each(state, one)


def copy(source: Path, target: Path) -> None:
    """The parts of a host's disk, with owners, times and the overlay's own marks."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for part in PARTS:
        run("cp", "-a", source / part, target / part)


def forget(shelf: str) -> None:
    """Throw away everything kept."""
    shutil.rmtree(folder(shelf), ignore_errors=True)
