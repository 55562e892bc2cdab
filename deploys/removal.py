"""Programs of ``files/`` that list what they would take away from a host, and then do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import invocation, programs, remote
from deploys.operations import Commands, refuse
from deploys.report import RUN
from fleet import nfs
from fleet.settings import Settings

LOOK_S = 120
REMOVE_S = 4000  # a draining server finishes what it has begun


def weights_stay(settings: Settings) -> str:
    """Why the host's weights may not go, in a line; "" where they are its own."""
    if settings.cache is None:
        return ""
    server, path = nfs.source(settings.cache)
    return (
        f"weights stay: other hosts may serve from {settings.cache}; remove what none of them "
        f"needs by hand, on {server} in {path}/hub"
    )


def _ask(
    host: Host, settings: Settings, program: str, request: Mapping[str, object], *, go: bool
) -> dict[str, Any]:
    common = {
        "break_lock": settings.break_lock,
        **invocation.operator(),
        "go": go,
    }
    command = programs.with_siblings(program, {**request, **common})
    return remote.parse(remote.run(host, command, timeout_s=REMOVE_S if go else LOOK_S))


def _remove(
    state: State, host: Host, settings: Settings, program: str, request: Mapping[str, object]
) -> bool:
    result = RUN.of(host.name)
    try:
        answer = _ask(host, settings, program, request, go=True)
    except remote.TROUBLE as error:
        result.outcome, result.reason = "not removed", remote.why(error)
        host.log_styled(result.reason, fg="red", log_func=logger.error)
        return False
    result.changes = [str(item) for item in answer["removed"]]
    result.outcome = "removed"
    for item in result.changes:
        host.log(f"removed {item}")
    return True


@operation()
def gone(settings: Settings, program: str, request: Mapping[str, object], nothing: str) -> Commands:
    """Nothing that ``files/<program>.py`` finds is on the host; ``nothing`` says so."""
    try:
        found = [str(item) for item in _ask(host, settings, program, request, go=False)["found"]]
    except remote.TROUBLE as error:
        yield refuse(f"{program}: {remote.why(error)}")
        return
    if not found:
        RUN.of(host.name).outcome = nothing
        host.noop(nothing)
        return
    if not state.is_executing:
        RUN.plan[host.name] = [f"remove {item}" for item in found]
    yield FunctionCommand(_remove, (settings, program, request), {})
