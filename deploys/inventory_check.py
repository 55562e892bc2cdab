"""What a host's data says of the run and of the inventory, beside what it is to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from deploys import pool
from fleet import options
from fleet.problems import choice

Where = Callable[[str], str]


def mistakes(host: Host, data: Mapping[str, object], where: Where) -> list[str]:
    """One line each; ``where`` names the file that a key came from."""
    return [
        *_misplaced(data, where),
        *_alone(data, where),
        *_unknown_names(host.inventory, data, where),
    ]


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
