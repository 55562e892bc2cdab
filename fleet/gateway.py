"""One endpoint in front of many replicas: who is behind it, its HAProxy configuration, and whether
a plan of waves leaves a replica of each model serving. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fleet import haproxy
from fleet.access import AccessSettings
from fleet.endpoint import GatewaySettings
from fleet.preflight_finding import Finding
from fleet.words import unscoped

INSTANCE = "gateway"
Trust = Literal["authority", "system", "none"]  # what checks a certificate


@dataclass(frozen=True)
class Replica:
    """A server behind the gateway. ``trust``: what checks its certificate."""

    name: str
    address: str
    port: int
    served_name: str
    trust: Trust


def backends(replicas: Iterable[Replica]) -> dict[str, list[Replica]]:
    """Served name → the replicas that have it, in inventory order."""
    found: dict[str, list[Replica]] = {}
    for replica in replicas:
        found.setdefault(replica.served_name, []).append(replica)
    return found


def config(
    access: AccessSettings, own: GatewaySettings, replicas: Iterable[Replica], key: str, socket: str
) -> str:
    """HAProxy's configuration. ``key`` is what the replicas ask for ("": nothing), ``socket`` the
    path of the runtime API."""
    return haproxy.render(
        "gateway",
        access=access,
        own=own,
        address=own.gateway_listen,
        port=own.gateway_port,
        models=backends(replicas),
        key=key,
        socket=socket,
    )


def unlimited(addresses: Iterable[str]) -> tuple[str, ...]:
    """The gateways' addresses as networks, as far as they are addresses."""
    found = []
    for text in addresses:
        try:
            found.append(str(ipaddress.ip_network(unscoped(text))))
        except ValueError:
            continue
    return tuple(found)


def outage(
    waves: Sequence[Sequence[str]], before: Mapping[str, str], wanted: Mapping[str, str]
) -> str:
    """Why the waves would leave a name that is served without a replica, in one line; "" when not.

    ``before``: each host behind the gateway that serves now → its served name; ``wanted``: every
    host behind the gateway → the name it is to have. A host of an earlier wave serves again, for
    else the later wave does not begin.
    """
    up = dict(before)
    for number, wave in enumerate(waves, 1):
        for name in dict.fromkeys(up[host] for host in wave if host in up):
            if not any(served == name for host, served in up.items() if host not in wave):
                taken = ", ".join(host for host in wave if up.get(host) == name)
                return (
                    f"wave {number} ({taken}) takes every replica that serves {name}; "
                    "allowed: one stays in service; add a replica, make wave_size or canary "
                    "smaller, keep served_name, or accept lost requests with "
                    "--data allow_downtime=true"
                )
        up |= {host: wanted[host] for host in wave if host in wanted}
    return ""


def ended_name(served: str, wanted: Mapping[str, str]) -> Finding | None:
    """A name that clients use now and that no replica is to have; ``wanted`` as for ``outage``."""
    if served in wanted.values():
        return None
    return Finding(
        "served name",
        "blocked",
        f"clients of the gateway use {served}",
        f"one of {', '.join(dict.fromkeys(wanted.values()))}",
        f"keep it with served_name = {served!r}, or --data allow_downtime=true",
    )
