"""Take away what this project put on a host, and only that. Asks first, unless -y.

Packages stay (kernel, driver, toolkit, Docker), and so do the keys in Docker's daemon.json: other
software of the host may have come to need them.
"""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

import layout
from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import programs, remote
from deploys.operations import Commands, refuse
from deploys.report import RUN, closing_table
from fleet import host_files
from fleet.settings import Settings

LOOK_S = 120
REMOVE_S = 4000  # a draining server finishes what it has begun


def owned() -> list[str]:
    """Patterns of the files outside our own folders."""
    return [
        str(layout.UNIT_FILE),
        str(layout.REGISTRY_UNIT_FILE),
        str(layout.HAPROXY_UNIT_FILE),
        *host_files.owned(),
    ]


def _ask(host: Host, settings: Settings, *, go: bool) -> dict[str, Any]:
    request = {
        "files": owned(),
        "hub": str(Path(settings.models_dir) / "hub"),
        "weights": settings.remove_weights,
        "images": settings.remove_images,
        "break_lock": settings.break_lock,
        "who": getpass.getuser(),
        "origin": socket.gethostname(),
        "go": go,
    }
    command = programs.with_siblings("remove", request)
    return remote.parse(remote.run(host, command, timeout_s=REMOVE_S if go else LOOK_S))


def _remove(state: State, host: Host, settings: Settings) -> bool:
    result = RUN.of(host.name)
    try:
        result.changes = [str(item) for item in _ask(host, settings, go=True)["removed"]]
    except (remote.Refused, OSError, EOFError) as error:
        result.outcome, result.reason = "not removed", str(error)
        host.log_styled(result.reason, fg="red", log_func=logger.error)
        return False
    result.outcome = "removed"
    for item in result.changes:
        host.log(f"removed {item}")
    return True


@operation()
def removed(settings: Settings) -> Commands:
    """Nothing of ours is on the host."""
    try:
        found = [str(item) for item in _ask(host, settings, go=False)["found"]]
    except remote.Refused as error:
        yield refuse(str(error))
        return
    if not found:
        RUN.of(host.name).outcome = "nothing of ours"
        host.noop("nothing of ours is on the host")
        return
    if not state.is_executing:
        RUN.plan[host.name] = [f"remove {item}" for item in found]
    yield FunctionCommand(_remove, (settings,), {})


@deploy("Remove")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    removed(name="Take away what is ours", settings=settings)
