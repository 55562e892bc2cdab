"""Hosts' file systems: read-only layers below, what a host writes on top."""

import os
import shutil
from pathlib import Path

from lab.command import run


def mount(layers: list[Path], own: Path, label: str) -> Path:
    """Mount ``layers`` (topmost first) under the writable ``own``/upper; returns the mount point.

    ``volatile`` skips every fsync: a host's power cut is simulated, the machine's would lose the
    lab as a whole, and apt is several times faster.
    """
    upper, work, merged = (own / name for name in ("upper", "work", "root"))
    for directory in (upper, work, merged):
        directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "work/incompat", ignore_errors=True)  # left by an earlier volatile mount
    lower = ":".join(str(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},volatile"
    run("mount", "-t", "overlay", label, "-o", options, merged)
    return merged


def unmount(top: Path) -> None:
    """Unmount everything at and below ``top``."""
    for point in reversed(mounted(top)):
        run("umount", "-l", point)


def mounted(top: Path) -> list[str]:
    """Mount points at and below ``top``, in the order they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in points if point == str(top) or point.startswith(f"{top}{os.sep}")]
