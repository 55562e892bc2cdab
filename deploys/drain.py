"""A host leaves the gateway before it switches, and comes back once it serves again.

The gateway itself holds who is out (HAProxy's drain state), so the next run sees what a killed one
has left, and mends it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import layout
from pyinfra.api.host import Host

from deploys import members, programs, remote
from fleet import gateway
from fleet.difference import facts
from fleet.settings import Settings
from fleet.snapshot import Snapshot
from fleet.vllm_config import served_name

POLL_S = 1.0
TELL_S = 10.0
PATIENCE_S = 30  # for a gateway's connection that breaks
BACK_S = 60.0  # from served again to a good check of the gateway
SERVING_BEFORE: dict[str, str] = {}  # hosts that served when the run began → the served name


def remember(name: str, now: Snapshot) -> None:
    """The host serves when the run begins."""
    served = str(facts(now.serving.texts).get("served_name") or "")
    SERVING_BEFORE[name] = served or served_name(members.SETTINGS[name])


def out(host: Host, settings: Settings, label: str) -> None:
    """Return when no gateway has a request of this host's under way, or ``drain_limit_s`` is over.

    Raises ``remote.Refused`` or ``remote.Lost`` where the host has to stay as it is.
    """
    for balancer in _gateways(host):
        answer = _ask(balancer, "drain", members.server(host.name), alone=settings.allow_downtime)
        if answer["last"]:
            raise remote.Refused(
                f"gateway {balancer.name}: found no other replica in service for the model of "
                f"{host.name}; mend the others (status.py), add one, or accept lost requests with "
                "--data allow_downtime=true"
            )
        _wait_empty(host, balancer, settings, label)


def outage(settings: Settings, waves: Sequence[Sequence[str]], run: Collection[str]) -> str:
    """Why these waves over the hosts of a ``run`` would take a model away from the gateways'
    clients; "" where they do not."""
    if not members.GATEWAYS or settings.allow_downtime:
        return ""
    wanted = members.wanted()
    outside = {name: served for name, served in wanted.items() if name not in run}
    before = {name: served for name, served in SERVING_BEFORE.items() if name in wanted}
    return gateway.outage(waves, before | outside, wanted)


class NotSeen(str):
    """What is wrong with a gateway itself: it says nothing of the host."""


def back(host: Host, label: str) -> str:
    """Into every gateway again; "" once its completions are seen there, else what is wrong, as
    ``NotSeen`` where no gateway says that the host is.

    The head of a replica answers for all of its hosts.
    """
    if host.name not in members.BEHIND:
        return ""
    lines = [line for one in _gateways(host) if (line := _back_at(host, one, label))]
    told = "; ".join(lines)
    return NotSeen(told) if all(isinstance(line, NotSeen) for line in lines) else told


def _back_at(host: Host, balancer: Host, label: str) -> str:
    try:
        return _back(host, balancer, label)
    except remote.Refused as error:  # the other gateways take it back all the same
        return NotSeen(error)


def _gateways(host: Host) -> list[Host]:
    return members.gateways(host.inventory)


def _back(host: Host, balancer: Host, label: str) -> str:
    rows, end = _rows(_ask(balancer, "ready", host.name), host.name), time.monotonic() + BACK_S
    while any(not str(row["status"]).startswith("UP") for row in rows):
        if time.monotonic() > end:
            said = ", ".join(f"{row['status']} ({row['check']})" for row in rows)
            return f"gateway {balancer.name} gets no completion from it: {said}"
        time.sleep(POLL_S)
        rows = _rows(_ask(balancer, "state", host.name), host.name)
    if rows:
        host.log(f"{label}: in service at gateway {balancer.name}")
    return ""


def _wait_empty(host: Host, balancer: Host, settings: Settings, label: str) -> None:
    began = time.monotonic()
    for busy in _sessions(balancer, members.server(host.name)):
        waited = time.monotonic() - began
        if not busy:
            host.log(f"{label}: out of gateway {balancer.name}, drained in {waited:.0f} s")
            return
        if waited > settings.drain_limit_s:
            host.log(f"{label}: {busy} requests still run after drain_limit_s, {waited:.0f} s")
            return


def _sessions(balancer: Host, server: str) -> Iterator[int]:
    """Requests of the server at the gateway, again and again; told every so often."""
    told = time.monotonic()
    while True:
        busy = sum(int(r["sessions"]) for r in _rows(_ask(balancer, "state", server), server))
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            balancer.log(f"{server} drains: {busy} requests")
        yield busy
        time.sleep(POLL_S)


def _ask(balancer: Host, what: str, server: str, **more: object) -> dict[str, Any]:
    request = {"socket": str(layout.GATEWAY_SOCKET), "do": what, "server": server, **more}
    command = programs.command("gateway", request)
    try:
        return remote.parse(remote.insist(balancer, command, patience_s=PATIENCE_S))
    except remote.Lost as error:
        raise remote.Refused(f"gateway {balancer.name}: {error}; mend it first") from error


def _rows(answer: dict[str, Any], server: str) -> list[dict[str, Any]]:
    return [found[server] for found in answer["servers"].values() if server in found]
