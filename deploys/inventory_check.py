"""What a host's data says of the run and of the inventory, beside what it is to serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import get_type_hints

from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.connectors.ssh import SSHConnector

from deploys import pool
from fleet import options
from fleet.problems import choice, shown, suggestion

_WORDS: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
}

Where = Callable[[str], str]


def mistakes(host: Host, data: Mapping[str, object], where: Where) -> list[str]:
    """One line each; ``where`` names the file that a key came from."""
    return [
        *_misplaced(data, where),
        *_alone(data, where),
        *_unknown_names(host.inventory, data, where),
        *_ssh(data, where),
    ]


def same_address(hosts: Iterable[Host], file: str) -> list[str]:
    """Two names for what is one machine, which two changes would meet at once."""
    lines, seen = [], dict[tuple[str, ...], str]()
    for host in hosts:
        if host.connector_cls is not SSHConnector:
            continue
        reached = str(host.data.get("ssh_hostname") or host.name)
        port = str(host.data.get("ssh_port") or 22)
        # one private address may lie behind several jump hosts
        way = str(host.data.get("ssh_config_file"))
        first = seen.setdefault((reached, port, way), host.name)
        if first != host.name:
            lines.append(
                f"{file}: host {host.name}: ssh_hostname: found {shown(reached)}, port {port}, "
                f"as of {first}; allowed: an address of its own"
            )
    return lines


def _ssh(data: Mapping[str, object], where: Where) -> list[str]:
    """Keys that pyinfra's SSH would not read, and values that are none for it."""
    kinds = get_type_hints(SSHConnector.data_cls)
    own = {key: value for key, value in data.items() if key.startswith("ssh_")}
    unknown = {key: f"unknown key{suggestion(key, kinds)}" for key in own if key not in kinds}
    wrong = {
        key: f"found {'a secret' if 'password' in key else shown(value)}, allowed: {allowed}"
        for key, value in own.items()
        if key in kinds and (allowed := _wanted(key, value, kinds[key]))
    }
    return [f"{where(key)}: {key}: {line}" for key, line in (unknown | wrong).items()]


def _wanted(key: str, value: object, kind: type) -> str:
    """What the key may be, where the value is something else."""
    taken = (float, int) if kind is float else kind
    fits = isinstance(value, taken) and (kind is bool or not isinstance(value, bool))
    if key == "ssh_port":
        port = fits and isinstance(value, int) and 1 <= value <= 65535
        return "" if port else "a whole number from 1 to 65535"
    return "" if fits else _WORDS.get(kind, str(kind))


def _misplaced(data: Mapping[str, object], where: Where) -> list[str]:
    """An option of one run, written where it would hold for every run."""
    return [
        f"{where(key)}: {key}: allowed: only for a single run, with --data {key}=…"
        for key in sorted(options.keys() & set(data))
        if where(key) != "--data"
    ]


def _alone(data: Mapping[str, object], where: Where) -> list[str]:
    return [
        f"{where(key)}: {key}: not allowed, waves need all hosts at once; use wave_size"
        for key in pool.ALONE
        if key in data
    ]


def _unknown_names(inventory: Inventory, data: Mapping[str, object], where: Where) -> list[str]:
    """Settings that name a host or a group which is not in the inventory."""
    hosts = [host.name for host in inventory]
    known = {"canary": [*hosts, *inventory.groups], "cache_server": hosts}
    return [
        choice(where(key), key, found, names)
        for key, names in known.items()
        if isinstance(found := data.get(key), str) and found not in names
    ]
