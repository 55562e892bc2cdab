"""Reboot a host because what is loaded is not what is wanted, and only then."""

from __future__ import annotations

import time
from contextlib import suppress

from gevent.lock import Semaphore
from paramiko import SSHException
from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import remote
from deploys.host_state import current, forget
from deploys.operations import Commands, refuse
from fleet.preflight_driver import boot_problems, reboot_reasons, serves
from fleet.settings import Settings

ASK_S = 10
BOOT_ID = StringCommand("cat /proc/sys/kernel/random/boot_id")
# Whoever answers early would be asked about a Docker that is still starting.
BOOTED = StringCommand("timeout 120 systemctl is-system-running --wait || true")
# Detached, so that the answer reaches us before sshd is stopped. Unless told to be accurate,
# systemd fires a timer at any time within the next minute.
REBOOT = StringCommand(
    "systemd-run --quiet --collect --on-active=1 --timer-property=AccuracySec=100ms",
    "systemctl reboot",
)
_turns: dict[str, Semaphore] = {}


@operation()
def rebooted(settings: Settings) -> Commands:
    """The loaded kernel, driver and command line are the wanted ones."""
    now = current(settings)
    reasons = "; ".join(reboot_reasons(settings, now))
    if not reasons:
        host.noop("what is loaded is what is wanted")
        return
    if line := refusal(settings, reasons):
        yield refuse(line)
        return
    forget()
    yield FunctionCommand(_in_turn, (settings, now.host.boot_id or ""), {})
    if left := "; ".join(reboot_reasons(settings, current(settings))):
        yield refuse(f"reboot: the host came back, but {left}; journalctl -b on the host tells why")


def refusal(settings: Settings, reasons: str) -> str:
    """Why this host may not be rebooted now; "" when it may."""
    now = current(settings)
    if serves(now):
        return f"reboot: found {reasons}; the host serves, move it with upgrade.py in its wave"
    if not settings.allow_reboot:
        return f"reboot: found {reasons}; set allow_reboot = True, or reboot the host by hand"
    problems = "; ".join(boot_problems(settings, now))
    return f"reboot: found {reasons}, but it would not be safe: {problems}" if problems else ""


def _in_turn(state: State, host: Host, settings: Settings, boot_id: str) -> bool:
    """One host of a replica at a time."""
    turn = _turns.setdefault(settings.replica or f"host {host.name}", Semaphore())
    with turn:
        return _reboot(host, settings, boot_id)


def _reboot(host: Host, settings: Settings, boot_id: str) -> bool:
    began = time.monotonic()
    try:
        with suppress(ConnectionError):  # it may go down before it has answered
            remote.run(host, REBOOT)
        _wait(host, boot_id, began + settings.reboot_timeout_s)
    except (remote.Refused, remote.Lost) as error:
        line = f"reboot: {error}; look at its console, then run the same command again"
        host.log_styled(line, fg="red", log_func=logger.error)
        return False
    host.log(f"back after {time.monotonic() - began:.0f} s")
    return True


def _wait(host: Host, boot_id: str, end: float) -> None:
    """Until the host answers from another boot; ``Lost`` at ``end`` (time.monotonic)."""
    while time.monotonic() < end:
        time.sleep(1)
        try:
            if not host.connected:
                host.connect(show_errors=False, raise_exceptions=True)
            if remote.run(host, BOOT_ID, timeout_s=ASK_S) != [boot_id]:
                remote.run(host, BOOTED, timeout_s=150)
                return
        except (OSError, EOFError, SSHException, ConnectError, remote.Refused):
            remote.hang_up(host)
    raise remote.Lost("no answer from another boot in time")
