"""One endpoint in front of the fleet: HAProxy on the hosts of the group gateway."""

from __future__ import annotations

import time

import layout
from pyinfra import host, state
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import firewall, members, programs, proxy, remote
from deploys import haproxy as instances
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, brought, refuse, tree
from deploys.report import RUN
from fleet import gateway, haproxy, vault
from fleet.settings import Settings

SEEN_S = 40.0  # until every replica had a check


def watch(settings: Settings) -> Watch:
    return instances.watch(gateway.INSTANCE) | Watch(files=tuple(instances.unit_file()))


def request(settings: Settings) -> str:
    """The socket that the snapshot asks, on a gateway."""
    return str(layout.GATEWAY_SOCKET) if settings.host in members.GATEWAYS else ""


def key(settings: Settings, *, make: bool) -> str | None:
    """What the replicas ask the gateway for; None where it is still to be made."""
    asked = [one for one in map(members.SETTINGS.get, members.BEHIND) if one]
    if all(one.api_auth == "none" for one in asked):
        return ""
    keys = vault.make_key(settings) if make else vault.keys(settings)
    return keys[0] if keys else None


def files(settings: Settings, *, make: bool) -> dict[str, str] | None:
    """The gateway's files; None where keys are still to be made, which ``make`` does."""
    own = settings.model_copy(update={"listen": settings.gateway_listen})
    found, secret = proxy.secrets(own, make=make), key(settings, make=make)
    if found is None or secret is None:
        return None
    replicas = members.replicas(host.inventory)
    if any(one.trust == "authority" for one in replicas):
        signer = vault.make_signer(settings) if make else vault.signer(settings)
        if signer is None:
            return None
        found[haproxy.AUTHORITY] = signer.certificate
    readers = (*settings.metrics_sources, *members.monitors(host.inventory))
    access = settings.model_copy(update={"metrics_sources": readers})
    text = gateway.config(access, settings, replicas, secret, str(layout.GATEWAY_SOCKET))
    return {haproxy.CONFIG: text, **found}


@operation()
def served(settings: Settings) -> Commands:
    """The gateway runs with the replicas that the inventory names."""
    if settings.host not in members.GATEWAYS:
        host.noop("no gateway")
        return
    yield from brought(
        lambda make: files(settings, make=make),
        lambda wanted: instances.bring(settings, gateway.INSTANCE, wanted),
        "the gateway runs as wanted",
    )


@operation()
def healed(settings: Settings) -> Commands:
    """No replica is out that a run has left so; one that is switched now is left alone."""
    drained = [name for name, status in current(settings).gateway.items() if "DRAIN" in status]
    if not drained:
        host.noop("no replica is out")
        return
    forget()
    for name in drained:
        order = {"socket": str(layout.GATEWAY_SOCKET), "do": "ready", "server": name}
        yield programs.command("gateway", order)


@operation()
def gone(settings: Settings) -> Commands:
    """No gateway on a host that is not in the group."""
    commands = list(instances.take_down(settings, gateway.INSTANCE))
    if not commands:
        host.noop("no gateway of ours runs")
    yield from commands


@operation()
def sees(settings: Settings) -> Commands:
    """Every replica answers the gateway's completions. Asked while the run executes."""
    if settings.host not in members.GATEWAYS:
        host.noop("no gateway")
    elif state.is_executing and (problem := _judged(_look() or _door(settings))):
        yield refuse(problem)


def _look() -> str:
    """What is wrong once every replica had a check; "" when all are in service."""
    order = {"socket": str(layout.GATEWAY_SOCKET), "do": "state"}
    end, bad = time.monotonic() + SEEN_S, ["nothing listens at its socket"]
    while bad:
        try:
            found = remote.ask(host, "gateway", order)["servers"]
        except (remote.Refused, OSError, EOFError) as error:
            return f"gateway: {error}"
        rows = {name: row for rows in found.values() for name, row in rows.items()}
        bad = [f"{n} {r['status']} ({r['check']})" for n, r in rows.items() if r["status"] != "UP"]
        bad = bad if rows else ["no replica is behind it"]
        if time.monotonic() > end:
            break
        time.sleep(1.0 if bad else 0.0)
    return f"gateway: {', '.join(bad)}; see status.py" if bad else ""


def _door(settings: Settings) -> str:
    """Who is let in without the key, by one of the known routes: no server here tells its own."""
    own = {"listen": settings.gateway_listen, "api_port": settings.gateway_port}
    door = settings.model_copy(update=own)
    if not door.exposed:
        return ""
    probed = proxy.probe(door)
    RUN.of(host.name).proofs.append(proxy.proof(door, probed))
    return "; ".join(probed["problems"])


def _judged(problem: str) -> str:
    """Record it; the problem."""
    result = RUN.of(host.name)
    result.reason = result.reason or problem
    if host.name not in members.SERVING:
        result.proved, result.outcome = not problem, "gateway" if not problem else "not proved"
        result.completion = "" if problem else f"{len(members.BEHIND)} replicas in service"
    return problem


def _prepared(settings: Settings) -> None:
    """HAProxy and its unit; nothing that clients notice."""
    if settings.host not in members.SERVING:
        firewall.run(settings=settings)
    unit = instances.unit(gateway.INSTANCE)
    instances.present(name="Install HAProxy", settings=settings)
    tree(
        name="Write the gateway's unit",
        settings=settings,
        files=instances.unit_file(),
        units=(unit,),
    )


@deploy("Gateway")
def run(*, settings: Settings) -> None:
    if settings.host in members.GATEWAYS:
        _prepared(settings)
    else:
        gone(name="Take down the gateway", settings=settings)
    # A step of all hosts: pyinfra orders only what a host shares with others, so a step of a
    # gateway alone would come before the release is staged.
    if members.GATEWAYS:
        served(name="Serve the replicas behind one endpoint", settings=settings)
    heal(settings=settings)


@deploy("Gateway")
def heal(*, settings: Settings) -> None:
    """Before a run drains any replica itself."""
    if settings.host in members.GATEWAYS:
        healed(name="Take back what was left out", settings=settings)


@deploy("Gateway, verified")
def prove(*, settings: Settings) -> None:
    if members.GATEWAYS:  # of all hosts, as in run: after the replicas serve
        sees(name="See every replica answer", settings=settings)
