"""A control group per host and one for the lab's servers: what a lab runs can be found and ended.

systemd reads and kills by cgroup path, so hosts that shared one would kill each other's services.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.command import LabError

TOP = "vllm-fleet-lab"
LEAVE_S = 5.0


def hierarchies() -> list[Path]:
    """Where systemd tracks processes: two trees on a hybrid machine, one on pure cgroup v2.

    The last one is always version 2.
    """
    top = Path("/sys/fs/cgroup")
    hybrid = [top / "systemd", top / "unified"]
    return hybrid if hybrid[-1].is_dir() else [top]


def members(lab: str, name: str) -> list[Path]:
    """The group's directory in each hierarchy."""
    return [tree / TOP / lab / name for tree in hierarchies()]


def create(lab: str, name: str) -> list[Path]:
    """Make the group; returns its directories."""
    groups = members(lab, name)
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return groups


@contextmanager
def joined(lab: str, name: str) -> Iterator[None]:
    """What is started inside belongs to the group, even if this process is killed in the middle."""
    back = [tree / own_path(tree).lstrip("/") for tree in hierarchies()]
    move(create(lab, name))
    try:
        yield
    finally:
        move(back)


def move(groups: list[Path]) -> None:
    """Put this process into one group of each hierarchy."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def own_path(tree: Path) -> str:
    """This process's group in a hierarchy."""
    label = "name=systemd" if tree.name == "systemd" else ""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == label:
            return path
    raise LabError(f"/proc/self/cgroup: no line for {tree}")


def pids(lab: str, name: str) -> list[int]:
    """Every process of the group and of the groups below it."""
    found: list[int] = []
    for directory, _, _ in os.walk(members(lab, name)[-1]):
        with suppress(OSError):  # the group has gone since
            found += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
    return found


def kill(lab: str, name: str) -> None:
    """End every process of the group at once, wait until all are gone, and remove the group.

    It must not be used again: Linux 6.14 to 6.18 at least kill at birth what a process of a group
    that was killed starts in another group (fork compares the two groups' kill counts).
    """
    top = members(lab, name)[-1]
    if top.is_dir():
        (top / "cgroup.kill").write_text("1")
    end = time.monotonic() + LEAVE_S
    while left := pids(lab, name):
        if time.monotonic() > end:
            raise LabError(f"lab {lab}: processes of {name} do not end: {left}")
        time.sleep(0.01)
    for group in members(lab, name):
        remove_tree(group)


def freeze(lab: str, name: str, frozen: bool) -> None:
    """Stop or continue a whole host: no program answers, its kernel still accepts connections."""
    (members(lab, name)[-1] / "cgroup.freeze").write_text("1" if frozen else "0")


def remove(lab: str) -> None:
    """Remove the lab's groups, which must be empty of processes."""
    for tree in hierarchies():
        remove_tree(tree / TOP / lab)
        top = tree / TOP
        if top.is_dir() and not any(child.is_dir() for child in top.iterdir()):
            top.rmdir()


def remove_tree(top: Path) -> None:
    """rmdir from the leaves up; killed processes take a moment to leave, so with patience."""
    end = time.monotonic() + LEAVE_S
    while top.exists():
        for directory, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):  # busy, or gone: seen in the next round
                os.rmdir(directory)
        if time.monotonic() > end:
            raise LabError(f"{top}: cannot be removed, a process may still be in it")
        time.sleep(0.005)
