"""Where the lab keeps things: its cache, and one run directory per lab."""

import os
import re
from pathlib import Path

from lab.command import LabError

RUN = Path("/run/vllm-fleet-lab")
NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


def default_name() -> str:
    """The lab that commands and the inventory mean when none is named: $LAB_NAME, else ``lab``."""
    return check_name(os.environ.get("LAB_NAME") or "lab")


def check_name(name: str) -> str:
    """The name, or LabError: it becomes part of namespace, cgroup and directory names."""
    if not NAME.fullmatch(name):
        raise LabError(f"lab name: found {name!r}, allowed: 1-12 of a-z and 0-9, a letter first")
    return name


def run_dir(name: str) -> Path:
    """State, keys, pids and logs of a running lab; gone after ``down``."""
    return RUN / check_name(name)


def cache_dir() -> Path:
    """Everything that is built once and kept: $LAB_CACHE, else below the user's cache directory."""
    if chosen := os.environ.get("LAB_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spark-vllm-fleet" / "lab"


def disk_dir(name: str) -> Path:
    """What the hosts of a running lab write (overlay uppers, Docker's data); gone after ``down``.

    It lies beside the cache because /run is often a tmpfs, too small for container images.
    """
    return cache_dir() / "running" / check_name(name)
