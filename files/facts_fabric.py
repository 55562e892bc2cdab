"""ConnectX-7 functions, read from sysfs; and whether the other hosts of the fabric are reached."""

import ipaddress
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from facts import answer, finish, start, text, text_or_none

CONNECTX7 = ("0x15b3", "0x1021")  # PCI vendor and device
HEADERS = 28  # bytes of IPv4 and ICMP around what ping sends


def fabric(request: dict[str, Any] | None) -> dict[str, Any] | None:
    """Keys of the request: peers (addresses), mtu. Null, and nothing read, without a request.

    reached is null for every peer on a host that has no ping.
    """
    if request is None:
        return None
    asked = {
        address: start(*("ping", "-c1", "-W2", "-M", "do"), "-s", str(request["mtu"] - HEADERS),
                       address)
        for address in request["peers"]
    }  # fmt: skip
    addresses = by_netdev(answer("ip", start("ip", "-j", "address", "show")))
    return {
        "functions": functions(Path("/sys/class"), addresses),
        "ours": carrying(Path("/sys/class/net"), addresses, ssh_address()),
        "reached": {a: finish(p)[0] == 0 if p else None for a, p in asked.items()},
    }


def by_netdev(listing: str) -> dict[str, list[str]]:
    """netdev → its addresses with prefix length, link-local ones left out."""
    return {
        link["ifname"]: [
            f"{one['local']}/{one['prefixlen']}"
            for one in link.get("addr_info", ())
            if one.get("scope") != "link"
        ]
        for link in json.loads(listing)
        if "ifname" in link
    }


def functions(classes: Path, addresses: dict[str, list[str]]) -> list[dict[str, Any]]:
    """All functions of ConnectX-7 cards, in the order of their PCI addresses."""
    rdma = {net.name: net.parents[2] for net in classes.glob("infiniband/*/device/net/*")}
    found = [
        {**netdev(link), "addresses": addresses.get(link.name, []), **verbs(rdma.get(link.name))}
        for link in classes.glob("net/*")
        if identity(link) == CONNECTX7
    ]
    return sorted(found, key=lambda function: (function["pci"], function["netdev"]))


def identity(link: Path) -> tuple[str | None, str | None]:
    vendor, device = (text_or_none(str(link / "device" / n)) for n in ("vendor", "device"))
    return vendor, device


def netdev(link: Path) -> dict[str, Any]:
    speed, carrier = number(link / "speed"), number(link / "carrier")
    return {
        "netdev": link.name,
        "pci": os.path.basename(os.path.realpath(link / "device")),
        "port": attribute(link / "phys_port_name"),
        "carrier": None if carrier is None else bool(carrier),
        "speed": speed if speed and speed > 0 else None,
        "mtu": number(link / "mtu"),
    }


def verbs(device: Path | None) -> dict[str, Any]:
    """The RDMA side of a function; nothing where mlx5_ib is not loaded."""
    if device is None:
        return {}
    port = device / "ports" / "1"
    return {
        "rdma": device.name,
        "state": attribute(port / "state"),
        "rate": attribute(port / "rate"),
        "gids": gids(port),
    }


def gids(port: Path) -> list[dict[str, Any]]:
    """The entries in use: an unused one has no type to be read."""
    found = []
    for path in sorted(port.glob("gids/*"), key=lambda p: int(p.name)):
        kind, gid = attribute(port / "gid_attrs" / "types" / path.name), attribute(path)
        if kind and gid:
            found.append({"index": int(path.name), "gid": gid, "type": kind})
    return found


def attribute(path: Path) -> str | None:
    """A sysfs attribute. Many refuse to be read (EINVAL) while a link is down or a slot empty."""
    try:
        return text(str(path)) or None
    except OSError:
        return None


def number(path: Path) -> int | None:
    found = attribute(path)
    return int(found) if found and re.fullmatch(r"-?[0-9]+", found) else None


def carrying(net: Path, addresses: dict[str, list[str]], address: str | None) -> list[str] | None:
    """The netdev that has `address`, and those below it (bridge, bond, VLAN); null: not known."""
    if address is None:
        return None
    has = [n for n, own in addresses.items() if address in (one.split("/")[0] for one in own)]
    return sorted({low for name in has for low in below(net, name)})


def below(net: Path, name: str) -> set[str]:
    lower = [path.name.removeprefix("lower_") for path in (net / name).glob("lower_*")]
    return {name}.union(*(below(net, one) for one in lower))


def ssh_address() -> str | None:
    """The address of this host that the SSH connection above this process came in on."""
    for pid in ancestors():
        words = environment(pid).get("SSH_CONNECTION", "").split()
        if len(words) == 4:
            found = ipaddress.ip_address(words[2].split("%")[0])
            mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
            return str(mapped or found)
    return None


def ancestors() -> Iterable[int]:
    """This process and those that started it; sudo takes SSH_CONNECTION away on the way down."""
    pid = os.getpid()
    while pid > 1:
        yield pid
        pid = int(text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[1])


def environment(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
