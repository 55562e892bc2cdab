"""What hosts are called and where they are reached: names that no host has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyinfra.api.inventory import Inventory

from fleet.problems import choice


def unknown_names(
    inventory: Inventory, data: Mapping[str, object], where: Callable[[str], str]
) -> list[str]:
    """Settings that name a host or a group which is not in the inventory."""
    hosts = [host.name for host in inventory]
    known = {"canary": [*hosts, *inventory.groups], "cache_server": hosts}
    return [
        choice(where(key), key, found, names)
        for key, names in known.items()
        if isinstance(found := data.get(key), str) and found not in names
    ]
