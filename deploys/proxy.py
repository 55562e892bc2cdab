"""The API beyond loopback: HAProxy with key, TLS, path list and limits, in front of vLLM."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pyinfra import host
from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import haproxy as instances
from deploys import members, programs, remote
from deploys.host_state import Watch
from deploys.operations import Commands, brought, tree
from fleet import gateway, haproxy, vault
from fleet.problems import SettingsError
from fleet.settings import Settings
from fleet.snapshot import Snapshot

WILDCARDS = ("0.0.0.0", "::")
PROBE_S = 120
DOOR_S = 15  # workers that a reload replaces answer for a moment


def watch(settings: Settings) -> Watch:
    ports = (settings.api_port,) if settings.exposed else ()
    files = Watch(files=tuple(instances.unit_file()), ports=ports)
    return instances.watch(haproxy.API) | files


def names(settings: Settings) -> list[str]:
    """What clients may call this host by, its inventory name first."""
    known = [settings.host, str(host.data.get("ssh_hostname") or "")]
    own = [] if settings.listen in WILDCARDS else [settings.listen]
    return [name for name in dict.fromkeys((*known, *own, *settings.api_names)) if name]


def files(settings: Settings, *, make: bool, more: Collection[str] = ()) -> dict[str, str] | None:
    """The proxy's files; None where keys are still to be made, which ``make`` does.

    ``more``: keys accepted beside the declared ones. Raises SettingsError for what a person gave
    and cannot be used.
    """
    found = secrets(settings, make=make, more=more)
    if found is None:
        return None
    free = gateway.unlimited(map(members.reached_at, members.gateways(host.inventory)))
    return {haproxy.CONFIG: haproxy.api(settings, free), **found}


def secrets(settings: Settings, *, make: bool, more: Collection[str] = ()) -> dict[str, str] | None:
    """What clients are let in by and what they trust, as ``files``, for any proxy of the host."""
    found: dict[str, str] = {}
    if settings.api_auth == "key":
        keys = vault.make_key(settings) if make else vault.keys(settings)
        if not keys:
            return None
        found[haproxy.KEYS] = haproxy.key_hashes(dict.fromkeys((*more, *keys)))
    if settings.tls != "off":
        read = vault.make_certificate if make else vault.certificate
        certificate = read(settings, settings.host, names(settings))
        if certificate is None:
            return None
        found[haproxy.CERTIFICATE] = certificate
    return found


def drift(settings: Settings, now: Snapshot) -> list[str]:
    """In what the proxy is not as declared, a line each."""
    runs = instances.serves(now, haproxy.API)
    if not settings.exposed:
        return ["proxy: it runs, wanted none: the API is on loopback"] if runs else []
    if not runs:
        return [f"proxy: {instances.unit(haproxy.API)} does not run"]
    try:
        wanted = files(settings, make=False)
    except SettingsError as error:
        return list(error.problems)
    if wanted is None:
        return ["proxy: its key or certificate is still to be made, or is due"]
    old = instances.differs(now, haproxy.API, wanted) or instances.behind(now, haproxy.API)
    return ["proxy: key, certificate or rules are not as declared"] if old else []


def notes(settings: Settings) -> list[str]:
    """Where a person finds what clients need."""
    scheme = "http" if settings.tls == "off" else "https"
    lines = [f"the API is at {scheme}://{names(settings)[-1]}:{settings.api_port}/v1"]
    if settings.api_auth == "key":
        lines.append(f"its key lies in {vault.key_path(settings)}")
    if settings.tls == "own-ca":
        lines.append(f"clients trust {vault.certificates(settings)}")
    return lines


def _door_request(
    settings: Settings, accepted: Collection[str], refused: Collection[str] = ()
) -> dict[str, object]:
    """What front_door.py is asked; SettingsError where there is no authority yet."""
    ca = None if settings.tls == "off" else ""
    if settings.tls == "own-ca":
        signer = vault.signer(settings)
        if signer is None:
            raise SettingsError(f"{vault.certificates(settings)}: there is none yet; run deploy.py")
        ca = signer.certificate
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return {
        "address": loopback.get(settings.listen, settings.listen),
        "port": settings.api_port,
        "name": settings.host,
        "ca": ca,
        "accepted": list(accepted),
        "refused": list(refused),
        "timeout_s": DOOR_S,
    }


def door(settings: Settings, accepted: Collection[str], refused: Collection[str] = ()) -> str:
    """ "" when clients of the current host are let in by these keys only; else what is wrong."""
    try:
        request = _door_request(settings, accepted, refused)
        command = programs.with_siblings("front_door", request)
        answer = remote.parse(remote.run(host, command, timeout_s=PROBE_S))
        return "; ".join(answer["problems"])
    except SettingsError as error:
        return error.problems[0]
    except (remote.Refused, OSError, EOFError) as error:
        return f"the proxy could not be asked: {error}"


def probe(settings: Settings) -> dict[str, Any]:
    """The API as clients see it, every route of it: ``problems`` (lines), ``routes``, ``counts``
    by kind of key and status. {} where it is not for others."""
    if not settings.exposed:
        return {}
    try:
        keys = vault.keys(settings) if settings.api_auth == "key" else []
        if not keys and settings.api_auth == "key":
            raise SettingsError(f"{vault.key_path(settings)}: there is none yet; run deploy.py")
        request = {**_door_request(settings, keys), "direct": settings.port}
        command = programs.with_siblings("auth_probe", request)
        return remote.parse(remote.run(host, command, timeout_s=PROBE_S))
    except SettingsError as error:
        return {"problems": error.problems[:1]}
    except (remote.Refused, OSError, EOFError) as error:
        return {"problems": [f"the proxy could not be asked: {error}"]}


def proof(settings: Settings, probed: dict[str, Any]) -> dict[str, str]:
    """What the answers of ``probe`` come to; of an API that is not for others, the claim
    ``listen`` says what there is to say."""
    problem, gaps = ("; ".join(probed.get(kind, [])) for kind in ("problems", "gaps"))
    counts = f"answers by key and status: {json.dumps(probed.get('counts', {}))}"
    return {
        "name": "access",
        "claimed": "a key for every route" if settings.api_auth == "key" else "no key",
        "found": f"{probed.get('routes', 0)} routes asked, {len(probed.get('open', []))} open",
        "verdict": "refuted" if problem else "unknown" if gaps else "shown",
        "line": problem or gaps or counts,
    }


@operation()
def served(settings: Settings) -> Commands:
    """The proxy runs with the declared key, certificate and rules."""
    yield from brought(
        lambda make: files(settings, make=make),
        lambda wanted: _bring(settings, wanted),
        "the proxy runs as wanted",
    )


def _bring(settings: Settings, wanted: dict[str, str]) -> Commands:
    commands = list(instances.bring(settings, haproxy.API, wanted))
    yield from commands
    if commands:
        yield FunctionCommand(_tell, (settings,), {})


def _tell(state: State, host: Host, settings: Settings) -> bool:
    for line in notes(settings):
        host.log(line)
    return True


@operation()
def gone(settings: Settings) -> Commands:
    """No proxy where the API is for the host itself only."""
    commands = list(instances.take_down(settings, haproxy.API))
    if not commands:
        host.noop("no proxy of ours runs")
        return
    yield from commands


@deploy("Proxy")
def run(*, settings: Settings) -> None:
    if not settings.exposed:
        gone(name="Take down the proxy", settings=settings)
        return
    instances.present(name="Install HAProxy", settings=settings)
    tree(
        name="Write HAProxy's unit",
        settings=settings,
        files=instances.unit_file(),
        units=(instances.unit(haproxy.API),),
    )
    served(name="Serve the API through the proxy", settings=settings)
