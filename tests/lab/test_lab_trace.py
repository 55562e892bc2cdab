"""A lab leaves no trace, and an ``up`` that was killed does no harm."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import lifecycle
from lab.cgroup import TOP, hierarchies
from lab.paths import RUN, disk_dir
from lab.testing import REPO, Keeper

NAME = "trace"
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


@pytest.fixture(autouse=True)
def own_lab(able: None) -> Iterator[None]:
    """A lab beside the session's own."""
    lifecycle.down(NAME)
    yield
    lifecycle.down(NAME)


def lab(*words: str) -> subprocess.Popen[str]:
    """``python -m lab ...`` for this lab, started."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        cwd=REPO,
        env={**os.environ, "LAB_NAME": NAME},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeed(*words: str) -> str:
    """Its standard output; it must end well."""
    process = lab(*words)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out


def traces() -> dict[str, set[str]]:
    """What a lab may leave on the machine; what other labs have now is left out."""
    others = {path.name for path in RUN.glob("*/")} - {NAME}
    beside = tuple(f"vllm-lab-{other}" for other in others)

    def ours(entries: Iterator[str]) -> set[str]:
        return {entry for entry in entries if not any(other in entry for other in beside)}

    mounts = Path("/proc/self/mounts").read_text().splitlines()
    running = disk_dir(NAME).parent
    return {
        "mounts": ours(
            line for line in mounts if not any(f"/running/{o}/" in line for o in others)
        ),
        "namespaces": ours(path.name for path in Path("/run/netns").glob("*")),
        "processes": ours(command_lines()),
        "groups": {str(path) for tree in hierarchies() for path in tree.glob(f"{TOP}/{NAME}")},
        "files": ours(
            str(path) for path in Path("/run/systemd").rglob("*") if "inode-" not in str(path)
        ),
        "runs": {str(path) for path in RUN.glob(f"{NAME}*")},
        "disk": {str(path) for path in running.glob(f"{NAME}*")},
        "binfmt": {str(path) for path in Path("/proc/sys/fs/binfmt_misc").glob(f"*{NAME}*")},
    }


def command_lines() -> Iterator[str]:
    """Of every process that mentions this lab."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().replace("\0", " ")
        except OSError:  # ended since
            continue
        if f"vllm-lab-{NAME}" in words or f"/{NAME}/" in words:
            yield words


def test_down_leaves_nothing_behind() -> None:
    before = traces()
    succeed("up", "--hosts", "2")
    during = traces()
    for what in ("mounts", "namespaces", "processes", "groups", "runs", "disk"):
        assert during[what] > before[what], f"the comparison does not see {what}"
    succeed("kill", "spark-02")
    succeed("down")
    assert traces() == before


def test_down_twice_is_no_error() -> None:
    succeed("down")
    assert succeed("down") == ""


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5])
def test_a_killed_up_is_healed_by_the_next(seconds: float) -> None:
    before = traces()
    process = lab("up", "--hosts", "2")
    time.sleep(seconds)
    process.kill()
    process.communicate()
    succeed("up", "--hosts", "1")
    assert succeed("ssh", "spark-01", "--", "hostname") == "spark-01\n"
    succeed("down")
    assert traces() == before


@pytest.mark.alone
def test_the_machines_settings_come_back_with_the_last_lab(keeper: Keeper) -> None:
    keeper.close()
    assert not any(RUN.glob("*/")), "another lab is up and still needs them: python -m lab down"
    before = INOTIFY.read_text()
    succeed("up", "--hosts", "1")
    succeed("down")
    assert INOTIFY.read_text() == before
    assert not RUN.exists()
