"""A login on a machine that knows our user not yet: the vendor's account and its password.

Only ``bootstrap.py`` uses it. Our own user and key are tried first, so that a second run needs no
password and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector

from fleet import vault
from fleet.problems import SettingsError
from fleet.settings import Settings

PASSWORD = "FLEET_FIRST_PASSWORD"  # the environment variable, where no file is set
NO_WAY_IN = "No authentication methods available"  # paramiko, where there is no key at all
SECRETS = ("ssh_password", "ssh_key_password")
_first: dict[str, str] = {}  # host → password, for hosts reached as the vendor's user


class Hidden(str):
    """A text that pyinfra does not show where it shows its arguments (``--debug``)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hide(connector: SSHConnector) -> None:
    """The passwords that this connection uses, if it uses any."""
    data: dict[str, Any] = connector.data  # type: ignore[assignment]
    data.update({key: Hidden(data[key]) for key in SECRETS if data.get(key)})


def mistakes(host: Host, settings: Settings, where: Callable[[str], str]) -> list[str]:
    """No login to make, or one that the bootstrap itself would close: no other opens it then."""
    user = host.data.get("ssh_user")
    if not user:
        problem = "missing; allowed: the account to make on the host, such as 'fleet'"
    elif user == "root" and settings.narrow_sshd:
        problem = "found root, allowed: a user of its own, or narrow_sshd = False"
    else:
        return []
    return [f"{where('ssh_user')}: ssh_user: {problem}"]


def password_of(host: Host) -> str | None:
    """The vendor account's password, if the host was reached that way."""
    return _first.get(host.name)


def connect(
    connector: SSHConnector, settings: Settings, plainly: Callable[[SSHConnector], None]
) -> None:
    """``plainly`` is the connector's own connect; raises ``ConnectError`` like it."""
    try:
        plainly(connector)
        return
    except (ConnectError, SSHException) as error:
        if isinstance(error, SSHException) and NO_WAY_IN not in str(error):
            raise  # of the transport or the host's key: a password would not help
        password = _password(settings)
        if settings.first_user is None or password is None:
            raise ConnectError(
                f"{error}; for a first contact set first_user, and first_password_file or "
                f"{PASSWORD} in the environment"
            ) from error
    data: dict[str, Any] = connector.data  # type: ignore[assignment]
    ours = {key: data[key] for key in ("ssh_user", "ssh_password")}
    data.update(ssh_user=settings.first_user, ssh_password=Hidden(password))
    try:
        plainly(connector)
    finally:
        data.update(ours)
    _first[connector.host.name] = password


def _password(settings: Settings) -> str | None:
    if settings.first_password_file is None:
        return os.environ.get(PASSWORD)
    try:
        return password_in_file(settings)
    except SettingsError as error:
        raise ConnectError(error.problems[0]) from error


def password_in_file(settings: Settings) -> str | None:
    """The password of ``first_password_file``, if it is set; SettingsError."""
    if settings.first_password_file is None:
        return None
    return vault.read(Path(settings.first_password_file), "first_password_file").rstrip("\n")


def public_key(host: Host, settings: Settings) -> str:
    """The automation key's public half: beside ``ssh_key`` unless ``public_key`` names a file."""
    path = Path(settings.public_key or f"{host.data.get('ssh_key') or '~/.ssh/id_ed25519'}.pub")
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise SettingsError(
            f"public_key: found {path}, {why}; allowed: a file with the public key that opens the "
            "automation user; make one with: ssh-keygen -t ed25519"
        ) from None


def forget(host: Host) -> None:
    """From now on the host is opened by our own user only."""
    _first.pop(host.name, None)
