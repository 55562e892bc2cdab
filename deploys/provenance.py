"""Which file (or option) a host's data key came from, so that a mistake can be found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from deploys import invocation


def where(host: Host, inventory_file: str) -> Callable[[str], str]:
    """A function from a data key to the place it was set, in pyinfra's own precedence."""

    def place(key: str) -> str:
        inventory = host.inventory
        if key in inventory.get_override_data():
            return "--data"
        if key in inventory.get_host_data(host.name):
            return f"{inventory_file}: host {host.name}"
        groups = [g for g in reversed(host.groups) if key in inventory.get_group_data(g)]
        return _file_of(key, [*groups, "all"], inventory_file)

    return place


def of_host(inventory: Inventory) -> Callable[[str, str], str]:
    """A function from a host's name and a data key to the place, which also names the host."""

    def place(name: str, key: str) -> str:
        found = where(inventory.get_host(name), invocation.inventory_file())(key)
        host = f"host {name}"
        return found if found.endswith(f": {host}") else f"{found}: {host}"

    return place


def _file_of(key: str, groups: list[str], inventory_file: str) -> str:
    folders = [Path(inventory_file).parent / "group_data", Path("group_data")]
    binds = re.compile(rf"^{re.escape(key)}\b", re.MULTILINE)
    for group in groups:
        for folder in folders:
            path = folder / f"{group}.py"
            if path.is_file() and binds.search(path.read_text()):
                return str(path)
    return "group_data/all.py"
