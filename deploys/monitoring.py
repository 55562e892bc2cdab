"""Prometheus with its board and alerts, on the hosts of the group monitoring."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import layout
from pyinfra import host, state
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import members, metrics, programs, remote
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, brought, differing, refuse, write_command
from deploys.report import RUN
from deploys.units import running
from fleet import prometheus, vault
from fleet.host_files import UNITS
from fleet.prometheus import Target
from fleet.settings import Settings

PACKAGE = "prometheus"
UNIT_FILE = f"{UNITS}/{layout.PROMETHEUS_UNIT}"
NAMES = (prometheus.CONFIG, prometheus.RULES, prometheus.BOARD, prometheus.AUTHORITY)
PATHS = (UNIT_FILE, *(f"{layout.PROMETHEUS}/{name}" for name in NAMES))
SEEN_S = 60.0  # until every target was asked


def targets() -> Iterator[Target]:
    """All that gives figures, in inventory order: also hosts that are not of this run."""
    for one in host.inventory:
        own, address = members.SETTINGS[one.name], members.reached_at(one)
        trust = members.TRUST[own.tls]
        yield Target("node", one.name, address, own.metrics_port, trust)
        if one.name in members.BEHIND:
            yield Target("vllm", one.name, address, own.metrics_port, trust)
        if one.name in members.GATEWAYS:
            yield Target("gateway", one.name, address, own.gateway_port, trust)


def files(settings: Settings, *, make: bool) -> dict[str, File] | None:
    """The unit and Prometheus' files, by path; None where the authority is still to be made, which
    ``make`` does. SettingsError where it cannot be read."""
    wanted, authority = list(targets()), ""
    if any(target.trust == "authority" for target in wanted):
        signer = vault.make_signer(settings) if make else vault.signer(settings)
        if signer is None:
            return None
        authority = signer.certificate
    board = (programs.FILES / "board.html").read_text()
    texts = prometheus.files(settings, wanted, board, authority)
    listen = settings.monitoring_listen
    unit = prometheus.unit(
        "prometheus",
        folder=layout.PROMETHEUS,
        data=layout.PROMETHEUS_DATA,
        state=layout.PROMETHEUS_DATA.relative_to("/var/lib"),
        days=settings.monitoring_days,
        listen=f"{f'[{listen}]' if ':' in listen else listen}:{settings.monitoring_port}",
    )
    own = {f"{layout.PROMETHEUS}/{name}": File(text) for name, text in texts.items()}
    return {UNIT_FILE: File(unit), **own}


def watch(settings: Settings) -> Watch:
    return Watch(
        files=PATHS,
        packages=(PACKAGE,),
        units=(layout.PROMETHEUS_UNIT,),
    )


@operation()
def written(settings: Settings) -> Commands:
    """Prometheus' files are as the inventory says."""
    yield from brought(
        lambda make: files(settings, make=make),
        lambda wanted: _write(settings, wanted),
        "Prometheus' files are as wanted",
    )


def _write(settings: Settings, wanted: dict[str, File]) -> Commands:
    now = current(settings)
    changed = differing(now, wanted)
    more = [path for path in PATHS if path in now.files and path not in wanted]
    if changed or more:
        forget()
        yield write_command(changed, absent=more)
        yield StringCommand("systemctl", "daemon-reload")


@operation()
def gone(settings: Settings) -> Commands:
    """No Prometheus of ours on a host that is not in the group. What it kept stays."""
    if UNIT_FILE not in current(settings).files:
        host.noop("no Prometheus of ours runs")
        return
    forget()
    unit = QuoteString(layout.PROMETHEUS_UNIT)
    yield StringCommand("systemctl", "disable", "--now", "--quiet", unit)
    yield StringCommand("rm", "-rf", "--", UNIT_FILE, str(layout.PROMETHEUS))
    yield StringCommand("systemctl", "daemon-reload")


@operation()
def sees(settings: Settings) -> Commands:
    """Prometheus reads figures of every host of the run. Asked while the run executes."""
    if settings.host not in members.MONITORS:
        host.noop("it does not monitor")
    elif state.is_executing and (problem := _judged(settings, *_look(settings))):
        yield refuse(problem)


def _look(settings: Settings) -> tuple[str, str]:
    """What is wrong once every target was asked ("": nothing), and what is seen."""
    order = {"address": settings.monitoring_listen, "port": settings.monitoring_port}
    end = time.monotonic() + SEEN_S
    while True:
        try:
            found = remote.ask(host, "prometheus_state", order)
        except (remote.Refused, OSError, EOFError) as error:
            return f"monitoring: {error}", ""
        bad = _down(found)
        if not bad or time.monotonic() > end:
            up = sum(one["health"] == "up" for one in found["targets"])
            return bad, f"{up} of {len(found['targets'])} targets give figures"
        time.sleep(1.0)


def _down(found: dict[str, Any]) -> str:
    """Targets of the run's hosts that are not up; others are for the board to show."""
    if found["problem"]:
        return f"monitoring: {found['problem']}; see journalctl -u {layout.PROMETHEUS_UNIT}"
    seen = {(one["host"], one["job"]): one for one in found["targets"]}
    lines = []
    for target in targets():
        one = seen.get((target.host, target.job), {})
        if target.host in RUN.results and one.get("health") != "up":
            lines.append(f"{target.host} {target.job}: {one.get('error') or 'not asked yet'}")
    return f"monitoring: {'; '.join(lines)}" if lines else ""


def _judged(settings: Settings, problem: str, seen: str) -> str:
    """Record it; the problem."""
    result = RUN.of(host.name)
    result.reason = result.reason or problem
    if host.name not in members.SERVING:
        gateway = host.name not in members.GATEWAYS or result.proved
        result.proved = gateway and not problem
        result.outcome = "monitoring" if result.proved else "not proved"
        result.completion = "; ".join(filter(None, (result.completion, seen)))
    return problem


def drift(settings: Settings) -> list[str]:
    """What of a monitor is not as declared, a line each."""
    now = current(settings).units.get(layout.PROMETHEUS_UNIT)
    found = (now.ActiveState, now.UnitFileState) if now else ("unknown", "")
    if found == ("active", "enabled"):
        return []
    return [f"{layout.PROMETHEUS_UNIT}: found {', '.join(filter(None, found))}, wanted active"]


@deploy("Monitoring")
def run(*, settings: Settings) -> None:
    if settings.host not in members.MONITORS:
        gone(name="Take down Prometheus", settings=settings)
        return
    metrics.quiet(
        name="Install Prometheus",
        settings=settings,
        package=PACKAGE,
        theirs=f"{PACKAGE}.service",
    )
    written(name="Write Prometheus' files", settings=settings)
    running(name="Watch the fleet", settings=settings, units={layout.PROMETHEUS_UNIT: PATHS})


@deploy("Monitoring, verified")
def prove(*, settings: Settings) -> None:
    # A step of all hosts, so that it comes after what the hosts of the run do.
    if members.MONITORS:
        sees(name="See every host's figures", settings=settings)
