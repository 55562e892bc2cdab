"""The lock of a host, held by this run's own connection while it changes the host step by step."""

from __future__ import annotations

from pyinfra.api.host import Host

from deploys import invocation, programs, remote


class TakenOver(Exception):
    """Somebody else has the lock that this run had."""


def hold(host: Host, what: str, *, break_lock: bool) -> None:
    """Raises one of ``remote.TROUBLE`` where somebody else has it. Ends with the connection."""
    purpose = {"what": f"{what} (run {invocation.RUN_ID})", "break_lock": break_lock}
    request = {"hold": True, **purpose, **invocation.operator()}
    remote.run(host, programs.with_siblings("hold_lock", request))


def keep(host: Host, what: str) -> None:
    """Hold it still, or again after a reboot or over a new connection."""
    try:
        hold(host, what, break_lock=False)
    except remote.Refused as error:
        raise TakenOver(str(error)) from error


def free(host: Host) -> str:
    """Give it back; "" or what went wrong."""
    try:
        remote.run(host, programs.with_siblings("hold_lock", {"hold": False}))
    except remote.TROUBLE as error:
        return f"lock: {remote.why(error)}"
    return ""
