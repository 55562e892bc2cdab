"""The bundle, served to hosts on their own loopback through the SSH connections of the run.

Nothing listens on the control side. A host asks for a file by HTTP at ``bundle_port``; sshd hands
the request over the connection that pyinfra holds, and the answer is what bundle.json lists.
"""

from __future__ import annotations

import functools
import http.server
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from paramiko import Channel, SSHException, Transport
from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploys import heartbeat
from deploys.operations import Commands, tell
from fleet import bundle
from fleet.bundle import Bundle
from fleet.problems import SettingsError
from fleet.settings import Settings

IDLE_S = 120
_CHUNK = 1 << 17
_tunnels: dict[str, Transport] = {}


@functools.cache
def opened(folder: Path) -> Bundle:
    """``bundle.json`` of a folder, read once a run; SettingsError."""
    return bundle.load(folder)


def folder(settings: Settings) -> Path:
    return Path(settings.bundle or "").expanduser()


def mistakes(settings: Settings) -> list[str]:
    """What the bundle lacks of what a host is to have: told before the first connection."""
    if settings.bundle is None:
        return []
    try:
        known = opened(folder(settings))
    except SettingsError as error:
        return list(error.problems)
    if known.arch != settings.host_arch:
        found = f"found a bundle for {known.arch}, allowed: {settings.host_arch}"
        return [f"{folder(settings)}: {found}"]
    return bundle.lacking(folder(settings), known, settings.locks, settings.vllm_image)


def sources(settings: Settings) -> list[str]:
    """The hosts' own apt repositories, as the bundle has them."""
    known = opened(folder(settings))
    return [bundle.apt_source(settings, stanza) for stanza in known.sources]


def reach(settings: Settings) -> Commands:
    """Before commands that fetch: the host reaches the bundle, if there is one."""
    if settings.bundle is not None:
        yield FunctionCommand(_reach, (settings,), {})


def _reach(state: State, host: Host, settings: Settings) -> bool:
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client else None
    if transport is None:
        return tell(host, f"bundle: {host.name} is not reached by SSH, which carries the bundle")
    if _tunnels.get(host.name) is transport:
        return True
    try:
        offer(transport, settings)
    except SSHException as error:
        return tell(
            host,
            f"bundle: sshd refuses to listen on {bundle.ADDRESS}:{settings.bundle_port} ({error}); "
            "AllowTcpForwarding is off, or another run holds the port: 'ss -ltnp' there names it",
        )
    _tunnels[host.name] = transport
    return True


def reconnected(name: str, transport: Transport, settings: Settings) -> None:
    """A job that goes on after a lost connection finds the bundle again."""
    if name in _tunnels and _tunnels[name] is not transport:
        try:
            offer(transport, settings)
            _tunnels[name] = transport
        except SSHException as error:  # the old connection may hold the port for a while
            logger.warning(f"[{name}] bundle: not offered again yet: {error}")
            del _tunnels[name]


def offer(transport: Transport, settings: Settings) -> None:
    """Let the host find the bundle at its own loopback; SSHException where sshd does not."""
    place, known = folder(settings), opened(folder(settings))

    def accepted(channel: Channel, origin: tuple[str, int], server: tuple[str, int]) -> None:
        gevent.spawn(converse, channel, origin, place, known)

    with heartbeat.alone(transport):
        transport.request_port_forward(bundle.ADDRESS, settings.bundle_port, accepted)


def converse(channel: Channel, origin: tuple[str, int], place: Path, known: Bundle) -> None:
    """All requests of one connection; a client that goes away is no news."""
    channel.settimeout(IDLE_S)
    try:
        Exchange(channel, origin, place, known)
    except (OSError, EOFError):
        pass
    finally:
        channel.close()


class Exchange(http.server.BaseHTTPRequestHandler):
    """GET and HEAD of what the bundle lists, whole or from an offset."""

    protocol_version = "HTTP/1.1"

    def __init__(
        self, channel: Channel, origin: tuple[str, int], place: Path, known: Bundle
    ) -> None:
        self._place, self._known = place, known
        super().__init__(channel, origin, None)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._say(HTTPStatus.OK)
            return
        try:
            found = bundle.answer(self._place, self._known, self.path)
        except SettingsError as error:
            logger.error(f"bundle: {error.problems[0]}")
            found = None
        if found is None:
            self._say(HTTPStatus.NOT_FOUND)
        else:
            self._send(*found)

    do_HEAD = do_GET

    def _say(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, path: Path, headers: dict[str, str]) -> None:
        size = path.stat().st_size
        start = self._offset(size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        kind = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        for name, value in {**kind, **headers, "Content-Length": str(size - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with path.open("rb") as file:
                file.seek(start)
                shutil.copyfileobj(file, self.wfile, _CHUNK)

    def _offset(self, size: int) -> int:
        """Where the asked range begins; the other forms of a range are answered whole."""
        asked = self.headers.get("Range", "")
        first = asked.removeprefix("bytes=").removesuffix("-")
        whole = asked != f"bytes={first}-" or not first.isdecimal() or int(first) >= size
        return 0 if whole else int(first)

    def log_message(self, format: str, *args: Any) -> None:
        """The steps tell what they fetch."""
