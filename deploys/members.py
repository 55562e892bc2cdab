"""Who serves, who is a gateway, who monitors: the inventory's groups ``gateway`` and ``monitoring``
and the rest of it.

A host of these groups alone gets no step that is about a GPU.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from deploys import invocation, provenance
from fleet.gateway import Replica, Trust
from fleet.loopback import is_loopback
from fleet.replicas import Place
from fleet.settings import Settings
from fleet.vllm_config import served_name
from fleet.words import unscoped

GROUP, MONITORING = "gateway", "monitoring"
TRUST: Mapping[str, Trust] = {"own-ca": "authority", "files": "system", "off": "none"}
SETTINGS: Mapping[str, Settings] = {}
GATEWAYS: list[str] = []
MONITORS: list[str] = []
SERVING: list[str] = []
BEHIND: list[str] = []  # of those, each that has an API: not the other hosts of a replica


def find(inventory: Inventory, settings: Mapping[str, Settings]) -> list[str]:
    """Take note of the whole inventory's members; every mistake, one line each."""
    global SETTINGS
    SETTINGS = settings
    GATEWAYS[:] = [host.name for host in inventory if GROUP in host.groups]
    MONITORS[:] = [host.name for host in inventory if MONITORING in host.groups]
    helping = {GROUP, MONITORING}
    whole = {*helping, "all", Path(invocation.inventory_file()).stem}  # pyinfra's own groups
    SERVING[:] = [
        host.name
        for host in inventory
        if not helping & set(host.groups) or set(host.groups) - whole
    ]
    BEHIND[:] = [name for name in SERVING if server(name) == name]
    behind = [one for name in BEHIND if (one := settings.get(name))]
    place = provenance.of_host(inventory)
    return [
        *((*_mistakes(behind, place), *_open(settings, place)) if GATEWAYS else ()),
        *_unknown_sources(inventory, place),
    ]


def _unknown_sources(inventory: Inventory, place: Place) -> list[str]:
    """Monitors whose figures no host would give: who asks is told by an address."""
    if all(one.metrics_sources for one in SETTINGS.values()):
        return []
    return [
        f"{place(name, 'ssh_hostname')}: ssh_hostname: found {reached}; allowed: an IP address "
        "for a host of the group monitoring; or set metrics_sources for all hosts"
        for name in MONITORS
        if not _is_address(reached := reached_at(inventory.get_host(name)))
    ]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(unscoped(text))
    except ValueError:
        return False
    return True


def _open(settings: Mapping[str, Settings], place: Place) -> list[str]:
    """The firewall knows nothing of a gateway's port."""
    return [
        f"{place(name, 'api_auth')}: api_auth: found 'none' on a gateway that listens on "
        f"{one.gateway_listen}; allowed: 'key'"
        for name in GATEWAYS
        if (one := settings.get(name))
        and one.api_auth == "none"
        and not is_loopback(one.gateway_listen)
    ]


def _mistakes(behind: list[Settings], place: Place) -> list[str]:
    if not behind:
        return ["group gateway: found no host that serves behind it; add hosts to another group"]
    unreached = [
        f"{place(one.host, 'listen')}: listen: found {one.listen}, which the gateway cannot reach; "
        "allowed: an address beyond loopback, such as 0.0.0.0"
        for one in behind
        if not one.exposed
    ]
    auth = {one.api_auth for one in behind}
    mixed = f"api_auth: found {' and '.join(sorted(auth))}; allowed: one for all behind a gateway"
    return [*unreached, *([mixed] if len(auth) > 1 else [])]


def server(name: str) -> str:
    """By which host a host is known to the gateways: the head of its replica, or itself."""
    found = SETTINGS.get(name)
    return found.ranks[0].host if found and found.ranks else name


def wanted() -> dict[str, str]:
    """Every host behind the gateways → the name that it is to serve under."""
    return {name: served_name(SETTINGS[name]) for name in BEHIND}


def gateways(inventory: Inventory) -> list[Host]:
    """The gateways of the inventory, also those that are not of this run."""
    return [inventory.get_host(name) for name in GATEWAYS]


def monitors(inventory: Inventory) -> list[str]:
    """The addresses that figures are read from, as networks."""
    known = (reached_at(inventory.get_host(name)) for name in MONITORS)
    return [str(ipaddress.ip_network(one)) for one in known if _is_address(one)]


def reached_at(host: Host) -> str:
    """The address by which others of the fleet reach a host."""
    return str(host.data.get("ssh_hostname") or host.name)


def replicas(inventory: Inventory) -> list[Replica]:
    """Who serves behind the gateways, in inventory order."""
    return [
        Replica(
            name=name,
            address=reached_at(inventory.get_host(name)),
            port=SETTINGS[name].api_port,
            served_name=served_name(SETTINGS[name]),
            trust=TRUST[SETTINGS[name].tls],
        )
        for name in BEHIND
    ]
