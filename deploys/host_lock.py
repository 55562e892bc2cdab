"""The lock of a host, held by this run's own connection while it changes the host step by step."""

from __future__ import annotations

from pyinfra.api.host import Host

from deploys import invocation, programs, remote
from fleet.settings import Settings


def hold(host: Host, settings: Settings, what: str) -> None:
    """Raises one of ``remote.TROUBLE`` where somebody else has it. Ends with the connection."""
    request = {"what": what, "break_lock": settings.break_lock, **invocation.operator()}
    remote.run(host, programs.with_siblings("hold_lock", {"hold": True, **request}))


def free(host: Host) -> str:
    """Give it back; "" or what went wrong."""
    try:
        remote.run(host, programs.with_siblings("hold_lock", {"hold": False}))
    except remote.TROUBLE as error:
        return f"lock: {remote.why(error)}"
    return ""
