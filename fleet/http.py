"""Bounded HTTP: time limits, retries with back-off, and no answer larger than was asked for."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fleet.loopback import is_loopback
from fleet.problems import SettingsError, shown

if TYPE_CHECKING:  # a tenth of the start of every run; most runs ask nobody
    import requests

CONNECT_S, READ_S = 10, 60
TRIES = 4
LONGEST_WAIT_S = 60.0
_CHUNK = 1 << 20
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Unreachable(SettingsError):
    """Nobody answered, or only with a server's own failure: it may be otherwise elsewhere."""


@dataclass(frozen=True)
class Answer:
    """A finished answer; ``headers`` ignores case, ``body`` is complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def _session() -> requests.Session:
    import requests

    return requests.Session()


@dataclass(frozen=True)
class Client:
    """GET with what all requests of one command share. ``sleep`` gets seconds."""

    tries: int = TRIES
    sleep: Callable[[float], None] = time.sleep
    session: requests.Session = field(default_factory=_session)

    def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """The answer to GET ``url``, at most ``limit`` bytes of it; SettingsError is one line."""
        import requests

        check_url(url)
        for attempt in range(self.tries):
            try:
                answer = self._once(url, headers, limit)
            except requests.RequestException as error:
                if attempt == self.tries - 1:
                    raise Unreachable(
                        f"{_host(url)}: {_reason(error)}; tried {self.tries} times"
                    ) from None
                wait = 2.0**attempt
            else:
                if answer.status not in _AGAIN or attempt == self.tries - 1:
                    return answer
                wait = _retry_after(answer.headers, 2.0**attempt)
            self.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _once(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        with self.session.get(
            url, headers=dict(headers), timeout=(CONNECT_S, READ_S), stream=True
        ) as reply:
            body = _bounded(reply.iter_content(_CHUNK), limit, url)
            return Answer(reply.status_code, reply.headers, body)


def _adapter(authority: Path) -> requests.adapters.HTTPAdapter:
    """Trusts one more authority than requests does by itself."""
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()
    context.load_verify_locations(authority)

    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **kwargs)

    return Trusting()


def trusting(authority: Path, tries: int = TRIES) -> Client:
    """A client that also trusts the certificate in ``authority`` (PEM); SettingsError."""
    session = _session()
    try:
        session.mount("https://", _adapter(authority))
    except OSError as error:  # ssl.SSLError, for what is no certificate, is one too
        reason = error.strerror or "not a certificate"
        raise SettingsError(f"{authority}: no certificate to trust: {reason}") from None
    return Client(tries=tries, session=session)


def check_url(url: str) -> None:
    """Refuse what would carry a token in the clear: only https, or http to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise SettingsError(f"{shown(url)}: allowed: an https:// address, or http:// on this machine")


def _bounded(chunks: Iterable[bytes], limit: int, url: str) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise SettingsError(f"{_host(url)}: answered more than {limit} bytes to {_path(url)}")
    return bytes(body)


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_S) if text.isdecimal() and len(text) < 9 else otherwise


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _path(url: str) -> str:
    return shown(urlsplit(url).path)


def _reason(error: requests.RequestException) -> str:
    """Which kind of failure; the text of requests' errors repeats whole objects."""
    import requests

    kinds: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.SSLError, "its TLS certificate is not trusted here"),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.TooManyRedirects, "redirects in a circle"),
        (requests.exceptions.ContentDecodingError, "its answer does not unpack"),
        (requests.exceptions.ConnectionError, "cannot be reached, or broke off"),
    )
    return next((text for kind, text in kinds if isinstance(error, kind)), type(error).__name__)
