"""The text of HAProxy's configuration and what lies beside it. Pure: settings in, texts out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fleet import templates
from fleet.settings import Settings

CONFIG = "haproxy.cfg"
KEYS = "keys.sha256"
CERTIFICATE = "server.pem"
AUTHORITY = "ca.crt"  # what the servers' certificates are checked by
API = "api"  # the instance in front of a host's own server

_templates = templates.environment()


def render(template: str, **values: object) -> str:
    """``templates/haproxy/<template>.cfg.j2``; its parts are in ``parts.j2``."""
    return _templates.get_template(f"haproxy/{template}.cfg.j2").render(**values)


def key_hashes(keys: Iterable[str]) -> str:
    """What HAProxy compares keys by: a line each, SHA-256 in upper-case hex. No key follows from
    it, for keys are as long as it is."""
    return "".join(f"{hashlib.sha256(key.encode()).hexdigest().upper()}\n" for key in keys)


def api(settings: Settings, gateways: Iterable[str] = ()) -> str:
    """The configuration in front of the host's own vLLM. ``gateways``: networks of the gateways,
    which no limit for one address holds."""
    free = (*settings.unlimited_sources, *gateways)
    return render(
        "api",
        access=settings.model_copy(update={"unlimited_sources": free}),
        address=settings.listen,
        port=settings.api_port,
        backend=settings.port,
    )
