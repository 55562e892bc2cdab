"""What the person typed: pyinfra itself hands its command line to nobody."""

from __future__ import annotations

import getpass
import socket
import sys
import uuid
from pathlib import Path

RUN_ID = uuid.uuid4().hex[:8]


def inventory_file() -> str:
    """The inventory as the person wrote it."""
    return next(iter(_python_files()), "inventory.py")


def deploy_files() -> list[str]:
    """The names of the deploy files of this run; none for a fact or an ad-hoc command."""
    return [Path(name).name for name in _python_files()[1:]]


def fetches() -> bool:
    """Whether hosts get packages, image or weights in this run."""
    return bool({"deploy.py", "switch.py", "download.py", "upgrade.py"} & set(deploy_files()))


def dry() -> bool:
    """Whether the plan is all that was asked for."""
    return "--dry" in sys.argv


def program() -> str:
    """What runs, in one word, for audit log and evidence."""
    return "+".join(Path(name).stem for name in deploy_files()) or "run"


def operator() -> dict[str, str]:
    """Who runs this, and on which machine: for locks, audit log and evidence."""
    return {"who": getpass.getuser(), "origin": socket.gethostname()}


def _python_files() -> list[str]:
    return [word for word in sys.argv[1:] if word.endswith(".py") and "=" not in word]
