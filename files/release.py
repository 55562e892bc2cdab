"""A release on this host: what ``release.json`` says, and which one the links name."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import durable
import layout
from errors import HostError, Refused

LOOPBACK = ("127.0.0.1", "::1")
DIGEST = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Release:
    """What a host program may know of a release; written by fleet/render.py."""

    digest: str
    mode: str
    model: str
    revision: str
    image: str
    served_name: str
    listen: str
    port: int
    ready_timeout_s: int
    drain_timeout_s: int
    stall_timeout_s: int
    memory_needed_kib: int
    container: str = layout.CONTAINER
    project: str = layout.PROJECT
    replica: dict[str, Any] | None = None  # of which this host is one rank; None: serves alone
    claims: dict[str, list[Any]] = field(default_factory=dict)  # fleet/mode_claims.py

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return layout.RELEASES / self.digest

    @property
    def address(self) -> str:
        """Where a client on this host reaches it."""
        return self.listen


def read(digest: str) -> Release:
    """The staged release ``digest``; raises Refused if it is not staged or not readable."""
    if not DIGEST.fullmatch(digest):
        raise Refused(f"release {digest!r}: allowed are 12 hex digits, as in {layout.RELEASES}")
    path = layout.RELEASES / digest / "release.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{path} does not exist; stage release {digest} first (deploy.py)") from None
    except ValueError as error:
        raise Refused(f"{path} is not JSON ({error}); stage release {digest} again") from None
    release = parse(data, path)
    if release.digest != digest:
        raise Refused(f"{path}: found digest {release.digest}, wanted {digest}; stage it again")
    return release


def parse(data: object, path: Path) -> Release:
    """``data`` as a Release; raises Refused naming a missing key or a wrong type."""
    if not isinstance(data, dict):
        raise Refused(f"{path}: found {type(data).__name__}, allowed is an object")
    kinds: dict[str, Any] = {"str": str, "int": int, "dict[str, Any] | None": dict | None}
    known: dict[str, Any] = {}
    for item in fields(Release):
        if item.name == "claims":
            continue
        value = data.get(item.name, item.default)
        if not isinstance(value, kinds[str(item.type)]) or isinstance(value, bool):
            raise Refused(
                f"{path}: {item.name}: found {data.get(item.name)!r}, "
                f"allowed: {item.type}; stage the release again"
            )
        known[item.name] = value
    if known["listen"] not in LOOPBACK:  # it asks for no key
        raise Refused(
            f"{path}: listen: found {known['listen']!r}, allowed: {' or '.join(LOOPBACK)}; run "
            "deploy.py, which puts a proxy in front"
        )
    return Release(**known, claims=_claims(data.get("claims", {}), path))


def _claims(value: object, path: Path) -> dict[str, list[Any]]:
    """The claims; a release staged by an older version has none."""
    if isinstance(value, dict) and all(isinstance(each, list) for each in value.values()):
        return value
    raise Refused(f"{path}: claims: found {value!r:.80}, allowed: lists by name; stage it again")


def linked(path: Path) -> str | None:
    """The digest that ``current`` or ``previous`` names; None if it names no staged release."""
    try:
        digest = os.readlink(path).rpartition("/")[2]
    except OSError:
        return None
    return digest if (layout.RELEASES / digest / "release.json").is_file() else None


def current() -> Release:
    """The release this host is to serve; raises Refused if there is none."""
    digest = linked(layout.CURRENT)
    if digest is None:
        raise Refused(f"{layout.CURRENT} names no staged release; nothing to serve, run deploy.py")
    return read(digest)


def point(*, current: str | None, previous: str | None) -> None:
    """Set both links; ``current`` last, in one rename."""
    for path, digest in ((layout.PREVIOUS, previous), (layout.CURRENT, current)):
        try:
            durable.link(path, None if digest is None else f"releases/{digest}")
        except OSError as error:
            raise HostError(
                f"{path}: cannot be set: {error.strerror}; free or mend the disk"
            ) from None
