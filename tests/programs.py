"""Programs of this machine that a test runs: installed by root, else the test is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import pytest

from lab import machine


def needed(programs: Mapping[str, str]) -> None:
    """``programs``: each with its Debian package."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        machine.install(programs)
    if missing := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)}: not installed, and only root may install it")
