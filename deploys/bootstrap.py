"""From the vendor's account to our own: user, key, sudo, host name, and sshd without passwords."""

from __future__ import annotations

from typing import Any

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import ConnectError, DeployError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import first_contact, programs, remote
from deploys.operations import Commands, refuse
from fleet.problems import SettingsError
from fleet.settings import Settings


def request(settings: Settings, *, narrow: bool, apply: bool) -> dict[str, Any]:
    return {
        "user": host.data.get("ssh_user"),
        "keys": [_public_key(settings)],
        "hostname": host.name if settings.set_hostname else None,
        "narrow": narrow,
        "apply": apply,
    }


def _public_key(settings: Settings) -> str:
    try:
        return first_contact.public_key(host, settings)
    except SettingsError as error:
        raise DeployError(error.problems[0]) from error


def tell(target: Host, asked: dict[str, Any]) -> list[str]:
    """``prepare_login``'s answer: what differs, or differed. As root, by whatever login we have."""
    program = programs.stdin("prepare_login", asked)
    password = first_contact.password_of(target)
    command, text = "sudo -n python3 -", program
    if password is not None and not _free(target):
        # sudo reads its line of standard input; the program is what follows. pyinfra would ask the
        # person for a password, had it seen sudo's own words for a wrong one.
        command = "sudo -k -S -p '' python3 - 2>&1 | sed 's/^sudo: a password.*/wrong password/'"
        text = f"{password}\n{program}"
    ok, output = target.run_shell_command(
        StringCommand(command), _sudo=False, _stdin=text, _timeout=remote.ANSWER_S
    )
    if not ok:
        raise remote.Refused([*output.stderr_lines, *output.stdout_lines, "no output"][0])
    return list(remote.parse(list(output.stdout_lines))["differs"])


def _free(target: Host) -> bool:
    """Whether the vendor's account needs no password for this very command: what sudo did not read
    Python would, and repeat it. (pyinfra would ask the person for one, had it seen sudo's
    complaint.)"""
    ok, _ = target.run_shell_command(
        StringCommand("sudo -n python3 - 2>/dev/null </dev/null"), _sudo=False
    )
    return bool(ok)


@operation()
def login(settings: Settings) -> Commands:
    """Our user opens the host with its key and is root without a password."""
    yield from _differing(settings, narrow=False)


@operation()
def proved(settings: Settings) -> Commands:
    """The key was seen to work; only then passwords may be closed."""
    if first_contact.password_of(host) is None:
        host.noop("this very connection uses it")
        return
    yield FunctionCommand(_reconnect, (), {})


@operation()
def narrowed(settings: Settings) -> Commands:
    """sshd takes keys only, and no root."""
    yield from _differing(settings, narrow=True)


def _differing(settings: Settings, *, narrow: bool) -> Commands:
    """What brings the host to the wanted state; nothing if it is there."""
    try:
        differs = tell(host, request(settings, narrow=narrow, apply=False))
    except remote.Refused as error:
        yield refuse(f"bootstrap: {error}")
        return
    if differs:
        yield FunctionCommand(_apply, (request(settings, narrow=narrow, apply=True),), {})
    else:
        host.noop("it is as wanted")


def _apply(state: State, host: Host, asked: dict[str, Any]) -> bool:
    try:
        for what in tell(host, asked):
            host.log(what)
    except remote.Refused as error:
        host.log_styled(f"bootstrap: {error}", fg="red", log_func=logger.error)
        return False
    return True


def _reconnect(state: State, host: Host) -> bool:
    """As our own user, by key, with sudo: else the vendor's account stays as it is."""
    remote.hang_up(host)
    first_contact.forget(host)
    try:
        host.connect(show_errors=False, raise_exceptions=True)
        remote.run(host, StringCommand("true"))
    except (ConnectError, OSError, remote.Refused) as error:
        line = f"our user's key does not open the host ({error}); passwords stay allowed"
        host.log_styled(line, fg="red", log_func=logger.error)
        return False
    return True


@deploy("Bootstrap")
def run(*, settings: Settings) -> None:
    login(name="Make our user, its key, sudo and the host's name", settings=settings)
    proved(name="See our user's key work", settings=settings)
    if settings.narrow_sshd:
        narrowed(name="Close password and root logins", settings=settings)
