"""What a host holds, kept aside and given to hosts again: one deploy serves many tests."""

import shutil
import time
from pathlib import Path

from lab import hosts, lifecycle
from lab.command import run
from lab.state import LabHost, State

PARTS = ("upper", *hosts.DISKS)
OFF_S = 60.0


def folder(state: State) -> Path:
    """Where it is kept: beside the lab's disk, so that it outlives the lab."""
    return state.disk.with_name(f"{state.name}.kept")


def place(state: State, name: str) -> Path:
    """Kept under ``name`` for hosts of this kind only."""
    return folder(state) / f"{state.platform}-{state.arch}-{name}"


def keep(state: State, host: LabHost, name: str) -> None:
    """Copy what ``host`` holds, shut down in good order, and switch it on again."""
    hosts.execute(state, host, "sudo systemctl poweroff", check=False)
    end = time.monotonic() + OFF_S
    while hosts.running(state, host) and time.monotonic() < end:
        time.sleep(0.1)
    hosts.kill(state, host)
    copy(hosts.home(state, host), place(state, name))
    hosts.start(state, host)
    hosts.wait(state, host)


def give(state: State, name: str) -> None:
    """Every host holds what was kept as ``name``, under its own name, address and keys."""

    def one(host: LabHost) -> None:
        hosts.discard(state, host)
        copy(place(state, name), hosts.home(state, host))
        lifecycle.fresh(state, host)

    lifecycle.each(state, one)


def copy(source: Path, target: Path) -> None:
    """The parts of a host's disk, with owners, times and the overlay's own marks."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for part in PARTS:
        run("cp", "-a", source / part, target / part)


def forget(state: State) -> None:
    """Throw away everything kept."""
    shutil.rmtree(folder(state), ignore_errors=True)
