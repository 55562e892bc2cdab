"""Preflight: is the fast network there, at full speed, and does it reach the other hosts?"""

from __future__ import annotations

import re

from fleet.fabric import Cabled, FabricError, cage, gid_index
from fleet.fabric_facts import Fabric, Function
from fleet.preflight_finding import Finding, Level, check
from fleet.replicas import others
from fleet.settings import Settings
from fleet.snapshot import Snapshot

SPEED = 200_000  # Mb/s that each function's link must have; PCI lets through about half of it
BANDWIDTH = 90  # Gb/s of one function: 92 to 97 were measured on sound pairs
# What must be in order once deploy.py was here.
MENDED = ("fabric cable", "fabric mtu", "fabric gid", "fabric peers")
Pair = tuple[Function, Function]


def fabric(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """Nothing for a host that is not said to be cabled."""
    wanted, facts = settings.fabric, snapshot.fabric
    if wanted is None:
        return _ranks(settings, facts)
    level: Level = "blocked" if settings.replica else "warn"
    if "fabric" in snapshot.errors:
        return [_card(None, snapshot.errors["fabric"], level)]
    try:
        pair = cage(wanted, facts)
    except FabricError as error:
        return [_card(False, str(error), level)]
    card = _card(True, " and ".join(f.netdev for f in pair), level)
    if cut := [f.netdev for f in pair if not f.carrier]:  # all else follows from that
        return [card, _cable(cut)]
    return [
        card,
        _link(pair),
        _mtu(wanted, pair),
        _gid(wanted, pair),
        *_peers(wanted, facts),
    ]


def _card(ok: bool | None, found: str, level: Level) -> Finding:
    return check(
        "fabric card",
        ok,
        found,
        wanted="both functions of one cabled ConnectX-7 cage",
        remedy="without a cable the card is absent from PCI: plug it in at both ends; if it stays "
        "away, take the power cord out for a minute; with two cables, set fabric.cage",
        level=level,
    )


def _cable(cut: list[str]) -> Finding:
    return check(
        "fabric cable",
        False,
        f"no link on {' and '.join(cut)}",
        wanted="a link on both functions of the cage",
        remedy="plug the cable in at both ends, in the cage that fabric.cage names; deploy.py sets "
        "up what nobody has yet; if it stays, take another cable",
        level="warn",
    )


def _link(pair: Pair) -> Finding:
    slow = [f for f in pair if (f.speed or 0) < SPEED]
    return check(
        "fabric link",
        not slow,
        ", ".join(f"{f.netdev} {_speed(f)}" for f in pair),
        wanted=f"{SPEED} Mb/s on both functions",
        remedy="set the switch's port to 200G with autonegotiation off (it often settles on 100G), "
        "or take another cable; ethtool NETDEV tells what was agreed",
        level="warn",
    )


def _speed(function: Function) -> str:
    return f"{function.speed} Mb/s" if function.speed else "at an unknown speed"


def _mtu(wanted: Cabled, pair: Pair) -> Finding:
    return check(
        "fabric mtu",
        all(f.mtu == wanted.mtu for f in pair),
        ", ".join(f"{f.netdev} {f.mtu}" for f in pair),
        wanted=f"{wanted.mtu}",
        remedy="deploy.py sets it; if it stays, another netplan file or NetworkManager profile "
        "sets it too: netplan get, nmcli connection",
        level="warn",
    )


def _gid(wanted: Cabled, pair: Pair) -> Finding:
    try:
        found, ok = str(gid_index(wanted, pair)), True
    except FabricError as error:
        found, ok = str(error), False
    return check(
        "fabric gid",
        ok,
        found,
        wanted="one RoCE v2 GID index for both functions' addresses",
        remedy="deploy.py gives the addresses, from which GIDs come; without any RDMA device "
        "load mlx5_ib; where the indexes differ, reboot",
        level="warn",
    )


def _peers(wanted: Cabled, facts: Fabric) -> list[Finding]:
    if not facts.reached:
        return []
    lost = sorted(address for address, reached in facts.reached.items() if not reached)
    found = check(
        "fabric peers",
        None if None in facts.reached.values() else not lost,
        f"no answer from {', '.join(lost)}" if lost else "all answer",
        wanted=f"answers to whole frames of {wanted.mtu} bytes",
        remedy=f"run deploy.py for all hosts of the replica; then ping -M do -s {wanted.mtu - 28} "
        "ADDRESS: the MTU of the switch, ufw at the other end. Unknown: install iputils-ping",
        level="warn",
    )
    return [found]


def _ranks(settings: Settings, facts: Fabric) -> list[Finding]:
    """A replica without a fabric talks over an ordinary network."""
    reached = {rank.host: facts.reached.get(rank.address) for rank in others(settings)}
    if not reached:
        return []
    lost = sorted(host for host, answered in reached.items() if answered is False)
    found = check(
        "replica peers",
        False if lost else None if None in reached.values() else True,
        f"no answer from {', '.join(lost)}" if lost else "all answer",
        wanted="answers from the other hosts of the replica",
        remedy="look at cluster_address, cables and firewalls: ping ADDRESS. Unknown: install "
        "iputils-ping",
        level="blocked" if lost else "warn",
    )
    return [found]


def bandwidth(peer: str, number: int, said: str) -> Finding:
    """What ib_write_bw measured: its last row is bytes, iterations, peak, average (Gb/s), rate."""
    rows = re.findall(r"^\s*\d+\s+\d+\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s*$", said, re.MULTILINE)
    last = " ".join((said.strip().splitlines() or ["no output"])[-1].split())[:200]
    return check(
        f"fabric bandwidth {number}",
        bool(rows) and float(rows[-1]) >= BANDWIDTH,
        f"{rows[-1]} Gb/s with {peer}" if rows else f"no measure with {peer}: {last}",
        wanted=f"{BANDWIDTH} Gb/s or more by ib_write_bw",
        remedy="install perftest on both where it is missing; reboot both hosts, for "
        "NetworkManager's stale state slows RoCE down; then power them off fully",
        level="warn",
    )
