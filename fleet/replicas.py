"""One model over several hosts: which hosts form a replica, who is its head, where they meet. Pure.

The hosts of a replica are its ranks, in inventory order; the first is rank 0, the head, which has
the API. Each host has one GPU.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field

from fleet.problems import shown
from fleet.strict import Strict


def _ip(value: str) -> str:
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise ValueError("allowed: an IPv4 address of this host, 192.168.100.1") from None


Place = Callable[[str, str], str]


class Rank(Strict):
    """One host of a replica: where the others reach it, and its addresses on the fabric, if any."""

    host: str
    address: str
    fabric: tuple[str, ...] = ()


class ReplicaSettings(Strict):
    """One model over several hosts."""

    replica: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Name of the replica the host belongs to: hosts of one name serve one model "
        "together, the first in the inventory is the head. Default: the host serves alone",
    )
    cluster_backend: Literal["mp", "ray"] = Field(
        default="mp",
        description="How vLLM runs over the hosts of a replica: its own multi-node backend, or "
        "Ray, which the image has to hold",
    )
    cluster_address: Annotated[str, AfterValidator(_ip)] | None = Field(
        default=None,
        description="Where the other hosts of the replica reach this one. Default: its first "
        "fabric address, else ssh_hostname where that is an address",
    )
    cluster_port: int = Field(
        default=29501,
        ge=1024,
        le=65534,
        description="TCP port of the head at which the hosts of a replica meet; on the port above "
        "it each tells the others that it lives",
    )
    fabric_proof: bool = Field(
        default=True,
        description="With a fabric, serve only when NCCL's log says NET/IB (RDMA); false: only say "
        "so",
    )


class Member(Protocol):
    """The settings of a host, as far as this module looks at them."""

    @property
    def replica(self) -> str | None: ...
    @property
    def ranks(self) -> tuple[Rank, ...]: ...


class Host(Protocol):
    """One host of a replica."""

    @property
    def host(self) -> str: ...
    @property
    def ranks(self) -> tuple[Rank, ...]: ...


def ranks(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Rank, ...]]:
    """Host → the ranks of its replica, () for a host that serves alone.

    ``hosts`` is unchecked data in inventory order; an address is "" where none is given.
    """
    replicas: dict[str, list[Rank]] = {}
    for name, data in hosts.items():
        if isinstance(replica := data.get("replica"), str):
            replicas.setdefault(replica, []).append(_rank(name, data))
    found = {r.host: tuple(group) for group in replicas.values() for r in group if len(group) > 1}
    return {name: found.get(name, ()) for name in hosts}


def _rank(name: str, data: Mapping[str, Any]) -> Rank:
    fabric = data.get("fabric")
    listed = fabric.get("addresses") if isinstance(fabric, dict) else None
    given = listed if isinstance(listed, list | tuple) else ()
    plain = tuple(str(one).split("/")[0] for one in given)
    wanted = data.get("cluster_address") or (plain[0] if plain else data.get("ssh_hostname"))
    return Rank(host=name, address=_address(wanted), fabric=plain)


def _address(value: object) -> str:
    try:
        return _ip(str(value))
    except ValueError:
        return ""


def others(settings: Host) -> list[Rank]:
    """The other hosts of its replica."""
    return [rank for rank in settings.ranks if rank.host != settings.host]


def by_name(host: str, key: str) -> str:
    """The place of a host's key, where nothing is known of files."""
    return host


def mistakes(hosts: Mapping[str, Member], keys: Iterable[str], place: Place = by_name) -> list[str]:
    """What does not fit together between the hosts of each replica, one line each.

    ``keys`` are the settings that decide a release: equal on all hosts of a replica. ``place``
    says where a host has a key from.
    """
    lines: list[str] = []
    for name, settings in hosts.items():
        for number, rank in enumerate(settings.ranks):
            if rank.host != name:
                continue
            lines += _lost(rank, settings.ranks[:number], place)
            head = settings.ranks[0].host
            if number and head in hosts:
                lines += [
                    f"{place(name, key)}: {key}: {line}"
                    for key, line in _unequal(settings, head, hosts[head], keys)
                ]
    return lines


def _lost(rank: Rank, before: tuple[Rank, ...], place: Place) -> list[str]:
    key = "cluster_address"
    if not rank.address:
        return [
            f"{place(rank.host, key)}: {key}: missing, wanted: where the other hosts of its "
            "replica reach it; set it, or a fabric"
        ]
    return [
        f"{place(rank.host, key)}: {key}: found {rank.address}, which {other.host} has; "
        "allowed: an address of its own"
        for other in before
        if other.address == rank.address
    ]


def _unequal(
    ours: Member, name: str, head: Member, keys: Iterable[str]
) -> Iterator[tuple[str, str]]:
    for key in sorted(keys):
        if (mine := getattr(ours, key)) != (theirs := getattr(head, key)):
            yield (
                key,
                f"found {shown(mine)}, allowed: {shown(theirs)}, as {name} of the same replica has "
                "it; set it for both",
            )


def torn(hosts: Mapping[str, Member], asked: Iterable[str]) -> list[str]:
    """Replicas of which a run would take only a part: they change as one."""
    asked = set(asked)
    return [
        f"replica {replica}: found {', '.join(sorted(some))} without {', '.join(missing)}; "
        "allowed: all of its hosts, or none; they serve one model together"
        for replica, members in _members(hosts).items()
        if (some := members & asked) and (missing := sorted(members - asked))
    ]


def _members(hosts: Mapping[str, Member]) -> dict[str, set[str]]:
    return {s.replica: {r.host for r in s.ranks} for s in hosts.values() if s.replica and s.ranks}
