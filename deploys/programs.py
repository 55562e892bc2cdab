"""Run a program of ``files/`` on a host without installing it: its source travels on stdin.

No argument of such a program is ever visible in the host's process list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from pyinfra.api.command import StringCommand

# Nothing of the host's own Python set-up, nor of the folder a login begins in, takes part.
PYTHON = ("python3", "-I", "-S", "-")
FILES = Path(__file__).parent.parent / "files"
_IMPORTED = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)  # ruff keeps it one a line

_LOADER = """\
import sys, types
for name, text in {sources!r}.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
"""


@functools.cache
def source(name: str) -> str:
    """The text of ``files/<name>.py``."""
    return (FILES / f"{name}.py").read_text()


def stdin(name: str, request: Mapping[str, object]) -> str:
    """What ``python3 -`` reads: the program, then the call of its ``main`` with the request."""
    return f"{source(name)}\nmain({request!r})\n"


def command(name: str, request: Mapping[str, object]) -> StringCommand:
    """The remote command that runs ``files/<name>.py`` with ``request`` (plain JSON values)."""
    return StringCommand(*PYTHON, _stdin=stdin(name, request))


def with_siblings(name: str, request: Mapping[str, object]) -> StringCommand:
    """As ``command``, for a program that imports others of ``files/``: they travel with it.

    So it runs as this checkout has it, whatever is installed on the host.
    """
    return StringCommand(*PYTHON, _stdin=stdin_with_siblings(name, request))


def stdin_with_siblings(name: str, request: Mapping[str, object]) -> str:
    """What ``python3 -`` reads: the programs, each as a module, then the call of ``main``."""
    return f"{_loaded(name)}sys.modules[{name!r}].main({dict(request)!r})\n"


@functools.cache
def _loaded(name: str) -> str:
    """The part that is the same for every host and request."""
    return _LOADER.format(sources={part: source(part) for part in siblings(name)})


@functools.cache
def siblings(name: str) -> tuple[str, ...]:
    """``name`` and all it imports from ``files/``, each after what it needs itself."""
    found: dict[str, None] = {}
    for part in _IMPORTED.findall(source(name)):
        if (FILES / f"{part}.py").exists():
            found |= dict.fromkeys(siblings(part))
    return (*found, name)
