"""Keys and certificates on the control side: read, made where there are none, 0600.

Nothing in here is printed, and errors name files, never what is in them.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.access import AccessSettings
from fleet.problems import SettingsError

if TYPE_CHECKING:  # X.509 is a twentieth of the start of every run; most have no certificate
    from fleet.authority import Authority

KEY_NAME = "api_key"
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{24,512}")
_ALLOWED = (
    "allowed: a line for each key, 24 or more characters of A-Z a-z 0-9 . _ ~ + / = -; "
    "take the file away to have one made"
)


def key_path(access: AccessSettings) -> Path:
    """The file that holds the API key."""
    return Path(access.api_key_file or Path(access.secrets_dir, KEY_NAME)).expanduser()


def keys(access: AccessSettings) -> list[str]:
    """The accepted API keys, the one to hand out first; [] where one is still to be made."""
    path = key_path(access)
    if not path.exists() and access.api_key_file is None:
        return []
    found = read(path, "api_key_file").split()
    if not found or not all(_KEY.fullmatch(key) for key in found):
        raise SettingsError(f"{path}: found no API key, or a line that is none; {_ALLOWED}")
    return found


def make_key(access: AccessSettings) -> list[str]:
    """As ``keys``; where there is none one is made and kept."""
    found = keys(access)
    if not found:
        found = [new_key()]
        write(key_path(access), "\n".join(found) + "\n")
    return found


def new_key() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def next_key(access: AccessSettings, *, make: bool) -> str | None:
    """The key that a rotation brings; one that was interrupted goes on with its own."""
    path = _next_path(access)
    if not path.exists():
        if not make:
            return None
        write(path, new_key() + "\n")
    return read(path, "api_key_file").strip()


def promote(access: AccessSettings, *, overlap: bool) -> None:
    """The rotation's key is the key from now on; done again it changes nothing."""
    coming = next_key(access, make=False)
    if coming is not None:
        old = keys(access)[:1] if overlap else []
        write(key_path(access), "\n".join((coming, *old)) + "\n")
        _next_path(access).unlink()


def _next_path(access: AccessSettings) -> Path:
    path = key_path(access)
    return path.with_name(f"{path.name}.next")


def certificates(access: AccessSettings) -> Path:
    """The certificate of our authority, which clients are to trust."""
    return Path(access.secrets_dir).expanduser() / "ca.crt"


def signer(access: AccessSettings) -> Authority | None:
    """Our authority; None where it is still to be made."""
    from fleet import authority

    path = certificates(access)
    if not path.exists():
        return None
    key = path.with_suffix(".key")
    found = authority.Authority(read(path, "secrets_dir"), read(key, "secrets_dir"))
    if not authority.sound(found):
        raise SettingsError(
            f"{path}: found no authority whose key {key} is; allowed: both as "
            "'fleet ca' made them; put them back, or take both away for a new one"
        )
    return found


def make_signer(access: AccessSettings) -> Authority:
    """As ``signer``; where there is none it is made and kept."""
    from fleet import authority

    found = signer(access)
    if found is None:
        found = authority.create()
        path = certificates(access)
        write(path.with_suffix(".key"), found.key)
        write(path, found.certificate, mode=0o644)  # last: it says that both are there
    return found


def certificate(access: AccessSettings, name: str, names: Sequence[str]) -> str | None:
    """Certificate and key for server ``name``; None where they have to be made, or made again."""
    from fleet import authority

    if access.tls == "files":
        return _given(access)
    path, issuer = server_path(access, name), signer(access)
    if issuer is None or not path.exists():
        return None
    text = read(path, "secrets_dir")
    now = datetime.datetime.now(datetime.UTC)
    return text if authority.fits(text, issuer, names, now) else None


def make_certificate(access: AccessSettings, name: str, names: Sequence[str]) -> str:
    """As ``certificate``; what is missing is made and kept."""
    from fleet import authority

    found = certificate(access, name, names)
    if found is None:
        found = authority.issue(make_signer(access), names)
        write(server_path(access, name), found)
    return found


def _given(access: AccessSettings) -> str:
    chain = read(Path(access.tls_certificate_file or ""), "tls_certificate_file")
    key = read(Path(access.tls_key_file or ""), "tls_key_file")
    return f"{chain.rstrip()}\n{key}"


def server_path(access: AccessSettings, name: str) -> Path:
    """Where certificate and key of server ``name`` lie."""
    safe = re.sub(r"[^A-Za-z0-9.-]", "_", name).lstrip(".") or "_"
    return Path(access.secrets_dir).expanduser() / "servers" / f"{safe}.pem"


def read(path: Path, key: str) -> str:
    """A secret file's text; SettingsError says why it cannot be read, or is too open."""
    with contextlib.suppress(OSError):  # told when it is read
        path = path.expanduser()
        if path.suffix != ".crt" and key != "tls_certificate_file" and path.stat().st_mode & 0o077:
            raise SettingsError(
                f"{key}: found {path}, which others may read; allowed: mode 0600; "
                f"chmod 600 {path}, and change the secret if they may have read it"
            )
    return text(path, key)


def text(path: Path, key: str) -> str:
    """A file's text; SettingsError says why it cannot be read."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise SettingsError(
            f"{key}: found {path}, {why}; allowed: a readable file on the control side"
        ) from None


def _folder(path: Path) -> None:
    """For its owner alone; one that is made here is also kept out of version control."""
    if not path.exists():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n")


def write(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Put ``text`` in place, whole or not at all, never readable by others on the way."""
    try:
        _folder(path.parent)
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(new, mode)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            raise
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written: {error.strerror}") from None
