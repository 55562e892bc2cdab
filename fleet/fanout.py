"""Fan-out: which host takes a model from the Hub, and in which order the others pass it on."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from fleet.strict import Strict


class FanoutSettings(Strict):
    """How weights and images travel inside the fleet."""

    fan_out: bool = Field(
        default=True,
        description="One host of a run takes a model from the Hub and an image from its registry, "
        "the others get them from each other, and by themselves where they cannot reach each "
        "other; false: the host downloads and pulls for itself",
    )
    fan_out_port: int = Field(
        default=8473,
        ge=1024,
        le=65535,
        description="TCP port at which hosts give weights and images to the other hosts of the "
        "run, only while they do; must be open between hosts",
    )


@dataclass(frozen=True)
class Member:
    """A host of the fan-out: the address that we reach it at, as it knows it itself, its addresses
    on the fabric with prefixes, and whether it has all files, or is the ``origin``: the one that
    brings them from elsewhere while the others take them."""

    name: str
    management: str
    fabric: tuple[str, ...] = ()
    whole: bool = False
    origin: bool = False

    @property
    def first(self) -> bool:
        """Whether it takes from no other host."""
        return self.whole or self.origin


@dataclass(frozen=True)
class Links:
    """What one host is told: ``sources`` from the best on, True for those that are behind it in the
    chain and so give only files that they have whole."""

    listen: tuple[str, ...]
    allowed: tuple[str, ...]
    sources: tuple[tuple[str, bool], ...]


def source(lacks: Mapping[str, int]) -> str:
    """The host that has the model or is to take it from the Hub; ``lacks``: host → bytes it misses,
    in inventory order. The one that misses least; of equals the first."""
    return min(lacks, key=lambda name: lacks[name])


def chain(members: Sequence[Member]) -> list[Member]:
    """Those that take from nobody first, then each host next to those of its own fast network, else
    in the order given: as few steps as possible go over the slower network."""
    found = [member for member in members if member.first]
    waiting = [member for member in members if not member.first]
    while waiting:
        last = found[-1] if found else None
        near = [member for member in waiting if last and _shared(member, last)]
        following = (near or waiting)[0]
        waiting.remove(following)
        found.append(following)
    return found


def address(member: Member, seen_from: Member) -> str:
    """Where ``seen_from`` reaches ``member``: on the fabric where both are on it."""
    return _shared(member, seen_from) or member.management


def _shared(member: Member, other: Member) -> str:
    networks = [ipaddress.ip_interface(one).network for one in other.fabric]
    own = [ipaddress.ip_interface(one) for one in member.fabric]
    return next((str(one.ip) for one in own if one.network in networks), "")


def links(member: Member, members: Sequence[Member]) -> Links:
    """What ``member`` is told about the chain of ``members``."""
    order = chain(members)
    at = order.index(member)
    others = order[:at] + order[at + 1 :]
    listen = {address(member, other) for other in others}
    allowed = {address(other, member) for other in others}
    before = [(address(other, member), other.whole) for other in reversed(order[:at])]
    behind = [(address(other, member), True) for other in order[at + 1 :]]
    return Links(
        tuple(sorted(listen)),
        tuple(sorted(allowed)),
        () if member.first else (*before, *behind),
    )
