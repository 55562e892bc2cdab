"""Run a program of ``files/`` on a host without installing it: its source travels on stdin.

No argument of such a program is ever visible in the host's process list.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from pyinfra.api.command import StringCommand

FILES = Path(__file__).parent.parent / "files"


@functools.cache
def source(name: str) -> str:
    """The text of ``files/<name>.py``."""
    return (FILES / f"{name}.py").read_text()


def stdin(name: str, request: Mapping[str, object]) -> str:
    """What ``python3 -`` reads: the program, then the call of its ``main`` with the request."""
    return f"{source(name)}\nmain({request!r})\n"


def command(name: str, request: Mapping[str, object]) -> StringCommand:
    """The remote command that runs ``files/<name>.py`` with ``request`` (plain JSON values)."""
    return StringCommand("python3", "-", _stdin=stdin(name, request))
