"""One endpoint in front of many replicas: who is behind it, its HAProxy configuration, and whether
a plan of waves leaves a replica of each model serving. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fleet import haproxy
from fleet.access import AccessSettings
from fleet.endpoint import GatewaySettings

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
            found.append(str(ipaddress.ip_network(text)))
        except ValueError:
            continue
    return tuple(found)


def outage(
    waves: Sequence[Sequence[str]], model: Mapping[str, str], serving: Collection[str]
) -> str:
    """Why the waves would leave a model without a replica, in one line; "" when they would not.

    ``model``: each host behind the gateway → its served name; ``serving``: those that serve now.
    A host of an earlier wave serves again, for else the later wave does not begin.
    """
    up = set(serving)
    for number, wave in enumerate(waves, 1):
        for name in dict.fromkeys(model[host] for host in wave if host in model and host in up):
            left = [h for h in up if model.get(h) == name and h not in wave]
            if not left:
                taken = ", ".join(host for host in wave if model.get(host) == name)
                return (
                    f"wave {number} ({taken}) takes every replica that serves {name}; "
                    "allowed: one stays in service; add a replica, make wave_size or canary "
                    "smaller, or accept lost requests with --data allow_downtime=true"
                )
        up |= set(wave)
    return ""
