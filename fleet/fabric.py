"""The fast network between the hosts of a replica: settings, and what follows from them and facts.

One QSFP cage is two PCI functions with a netdev and an RDMA device each; a cable's full speed needs
both. Their names differ from host to host, so they always come from facts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from fleet.fabric_facts import Fabric, Function
from fleet.replicas import Place, by_name
from fleet.strict import Strict


class FabricError(Exception):
    """The host's functions are not what the settings need; the message is one line."""


def _interface(value: str) -> str:
    try:
        found = ipaddress.IPv4Interface(value)
    except ValueError as error:
        raise ValueError(
            f"allowed: an address with its prefix, 192.168.100.1/24 ({error})"
        ) from None
    network = found.network
    if network.prefixlen > 30 or found.ip in (network.network_address, network.broadcast_address):
        raise ValueError("allowed: a host's address in a network of /30 or more, 192.168.100.1/24")
    return str(found)


def _apart(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) != 2:
        raise ValueError("allowed: two addresses, one for each function of the cage")
    first, second = (ipaddress.IPv4Interface(one).network for one in value)
    if first.overlaps(second):
        raise ValueError(
            f"allowed: two subnets; {first} and {second} are one, and the kernel would send all "
            "over one function: half the speed"
        )
    return value


Address = Annotated[str, AfterValidator(_interface)]


class Cabled(Strict):
    """How one host is joined to the fabric."""

    addresses: Annotated[tuple[Address, ...], Field(strict=False), AfterValidator(_apart)]
    cage: str | None = Field(default=None, pattern=r"^p[0-9]+$")
    mtu: int = Field(default=9000, ge=1500, le=9978)

    @property
    def plain(self) -> tuple[str, ...]:
        """The addresses without their prefixes."""
        return tuple(one.split("/")[0] for one in self.addresses)


class FabricSettings(Strict):
    """The fast network between hosts."""

    fabric: Cabled | None = Field(
        default=None,
        description="For a host cabled by ConnectX-7: {addresses: [192.168.100.1/24, "
        "192.168.101.1/24], cage: p0, mtu: 9000}. One address for each of the cage's two "
        "functions, in the order of their PCI addresses, each in a subnet of its own. cage is only "
        "needed where two are cabled. 9000 because RoCE then sends 4096 bytes at once, not 1024",
    )
    fabric_test: bool = Field(
        default=False,
        description="Measure each function with ib_write_bw between the first and the last host of "
        "the replica, where perftest is installed. Takes seconds of full load",
    )


class HasFabric(Protocol):
    """The settings of a host, as far as this module looks at them."""

    @property
    def fabric(self) -> Cabled | None: ...
    @property
    def replica(self) -> str | None: ...


def cage(wanted: Cabled, facts: Fabric) -> tuple[Function, Function]:
    """Both functions of the cage in use, in PCI order; FabricError where that is not certain."""
    cages: dict[str, list[Function]] = {}
    for function in facts.functions:
        cages.setdefault(function.port or "unnamed", []).append(function)
    if not cages:
        raise FabricError("no ConnectX-7 on PCI")
    name = wanted.cage or _in_use(wanted, cages)
    found = cages.get(name, [])
    if len(found) != 2:
        raise FabricError(f"{len(found)} functions in cage {name}; there is {_told(cages)}")
    return found[0], found[1]


def _in_use(wanted: Cabled, cages: Mapping[str, list[Function]]) -> str:
    """The only cage, or the one that has our addresses, or the only one with a link."""
    tests = (
        lambda f: True,
        lambda f: bool(set(f.addresses) & set(wanted.addresses)),
        lambda f: bool(f.carrier),
    )
    for test in tests:
        found = [name for name, functions in cages.items() if any(map(test, functions))]
        if len(found) == 1:
            return found[0]
    raise FabricError(f"{_told(cages)}, and not one alone with a link; set fabric.cage")


def _told(cages: Mapping[str, list[Function]]) -> str:
    return "; ".join(
        f"cage {name}: {', '.join(f.netdev for f in functions)}"
        for name, functions in sorted(cages.items())
    )


def peers(host: str, hosts: Mapping[str, HasFabric]) -> tuple[str, ...]:
    """The fabric's addresses of the other hosts of ``host``'s replica."""
    replica = hosts[host].replica
    return tuple(
        address
        for name, other in hosts.items()
        if name != host and replica and other.replica == replica and other.fabric
        for address in other.fabric.plain
    )


def mistakes(hosts: Mapping[str, HasFabric], place: Place = by_name) -> list[str]:
    """What does not fit together between the hosts of a replica, one line each."""
    replicas: dict[str, dict[str, Cabled | None]] = {}
    for name, settings in hosts.items():
        if settings.replica:
            replicas.setdefault(settings.replica, {})[name] = settings.fabric
    return [
        f"{place(name, 'fabric')}: fabric: {line}"
        for members in replicas.values()
        if any(members.values())
        for (one, first), (two, second) in combinations(members.items(), 2)
        for name, line in _mistake(one, first, two, second)
    ]


def _mistake(
    one: str, first: Cabled | None, two: str, second: Cabled | None
) -> Iterator[tuple[str, str]]:
    """The host that is to be mended, and what is wrong with it."""
    if first is None or second is None:
        with_it, without = (two, one) if first is None else (one, two)
        yield without, f"missing, wanted: as {with_it} of the same replica has it"
    elif shared := sorted(set(first.plain) & set(second.plain)):
        yield two, f"found {shared[0]}, which {one} has; allowed: an address of its own"
    elif _networks(first) != _networks(second):
        found = f"found subnets {_networks(second)}, allowed: those of {one} of the same replica"
        yield two, f"{found}, {_networks(first)}"
    elif first.mtu != second.mtu:
        yield two, f"found mtu {second.mtu}, allowed: {first.mtu}, as {one} has it"


def _networks(cabled: Cabled) -> str:
    return ", ".join(str(ipaddress.IPv4Interface(one).network) for one in cabled.addresses)


def gid_index(wanted: Cabled, pair: tuple[Function, Function]) -> int:
    """The index of the IPv4 RoCE v2 address, one for both functions as NCCL takes only one.

    FabricError where a function has none, or both differ.
    """
    found = [f.gid_index(own) for f, own in zip(pair, wanted.plain, strict=True)]
    told = ", ".join(
        f"{f.rdma or f.netdev} {'none' if index is None else index}"
        for f, index in zip(pair, found, strict=True)
    )
    if found[0] is None or found[0] != found[1]:
        raise FabricError(f"RoCE v2 GID index of the addresses: {told}")
    return found[0]
