"""What pyinfra works out anew for every operation of every host, with the same answers for less.

``deploys/engine.py`` puts these in the place of pyinfra's own, which would take most of the control
side's time: 1.6 ms for each of some 40 operations a host.
"""

from __future__ import annotations

import functools
import gc
import importlib
import sys
from typing import Any

from pyinfra.api import arguments
from pyinfra.api.arguments import AllArguments
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.api.util import PYINFRA_INSTALL_DIR

# A run keeps nearly all it makes: to look for garbage every 700 objects takes a tenth of its time.
gc.set_threshold(100_000, 20, 20)

# pyinfra.api has functions of these modules' names, which hide them from import statements
operations = importlib.import_module("pyinfra.api.operation")
deploys = importlib.import_module("pyinfra.api.deploy")

argument_types = functools.cache(arguments.all_global_arguments)
_pop = arguments.pop_global_arguments
_usual: dict[Host, AllArguments] = {}


def order(state: State) -> list[int]:
    """Where an operation is called: the line numbers from the deploy file down to it.

    pyinfra's own reads the source of every frame to know them.
    """
    lines: list[int] = []
    called: list[int] = []
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(PYINFRA_INSTALL_DIR):
            lines.append(frame.f_lineno)
        if name == state.current_deploy_filename:
            called = lines.copy()  # of several, the outermost
        frame = frame.f_back  # type: ignore[assignment]
    found = called if state.current_deploy_filename else lines
    return [state.current_op_file_number, *reversed(found)]


def pop_arguments(
    state: State, host: Host, kwargs: dict[str, Any]
) -> tuple[AllArguments, list[str]]:
    """pyinfra's arguments of an operation or a deploy: of one that is given none but a name, those
    that config, inventory and group data give to all of the host's.
    """
    given = [name for name, _ in argument_types() if name in kwargs]
    if host not in _usual and host.current_deploy_kwargs is None:
        _usual[host], _ = _pop(state, host, {})
    usual = _usual.get(host)
    if usual is None or given not in ([], ["name"]) or not _inherits(host, usual):
        return _pop(state, host, kwargs)
    return {**usual, "name": kwargs.pop("name", None)}, given


def _inherits(host: Host, usual: AllArguments) -> bool:
    """Nothing but the usual comes from the deploy step that is being read."""
    return host.current_deploy_kwargs in (None, usual)
