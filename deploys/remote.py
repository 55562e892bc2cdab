"""Ask a host something while an operation runs, over a connection that may be lost on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from paramiko import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from deploys import programs
from fleet.untrusted import steerless

ANSWER_S = 60  # a host that is up answers a question in far less
RETRY_S = 3


class Lost(Exception):
    """The host could not be reached for the whole time given to it."""


class Refused(Exception):
    """The remote program failed; the message is its last line."""


# What a question to a host may end in.
TROUBLE = (Refused, Lost, OSError, EOFError, SSHException, ConnectError)


def why(error: Exception) -> str:
    """What went wrong, in one line that is never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def run(host: Host, command: StringCommand, *, timeout_s: int = ANSWER_S) -> list[str]:
    """Standard output's lines of one command as root; ``Refused`` when it fails.

    A connection that broke meanwhile raises ConnectionError: nobody knows how the command ended.
    """
    arguments: dict[str, Any] = {"_sudo": bool(host.state.config.SUDO), "_timeout": timeout_s}
    # Only operations pass on what a command brings along itself; here it is the stdin.
    ok, output = host.run_shell_command(command, **command.connector_arguments, **arguments)
    if not ok:
        lines = [*output.stderr_lines, *output.stdout_lines] or ["no output"]
        raise Refused(lines[-1])
    return list(output.stdout_lines)


def ask(host: Host, program: str, request: Mapping[str, object]) -> dict[str, Any]:
    """The JSON object that ``files/<program>.py`` answers."""
    lines = run(host, programs.command(program, request))
    return parse(lines)


def parse(lines: list[str]) -> dict[str, Any]:
    """The last line as a JSON object, which may be printed; ``Refused`` when it is none."""
    try:
        answer = json.loads(lines[-1]) if lines else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused(f"unexpected answer: {' '.join(lines)[-200:] or 'nothing'}")
    return dict(steerless(answer))


def insist(
    host: Host, command: StringCommand, *, patience_s: float, timeout_s: int = ANSWER_S
) -> list[str]:
    """Like ``run``, connecting again for ``patience_s`` seconds when the connection breaks.

    Raises ``Lost`` when that did not help.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            if not host.connected:
                host.connect(show_errors=False, raise_exceptions=True)
            return run(host, command, timeout_s=timeout_s)
        except (TimeoutError, OSError, EOFError, SSHException, ConnectError) as error:
            if time.monotonic() > end:
                raise Lost(f"no answer for {patience_s:.0f} s ({why(error)})") from error
            hang_up(host)
            time.sleep(RETRY_S)


def hang_up(host: Host) -> None:
    """Forget the connection: the next ``connect`` makes a new one."""
    client = getattr(host.connector, "client", None)
    if client is not None:
        client.close()
    host.connected = False
