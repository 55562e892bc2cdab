"""Figures of every host, where the inventory has a group ``monitoring``: the distribution's node
exporter and our own figures on loopback, and HAProxy in front of them and of vLLM's.
"""

from __future__ import annotations

import functools
import json

import layout
from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import haproxy as instances
from deploys import members, packages, programs, proxy
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, Directory, File, brought, tree
from deploys.units import running
from fleet import haproxy, prometheus, vault
from fleet.host_files import UNITS
from fleet.host_packages import installed
from fleet.settings import Settings

EXPORTER = "prometheus-node-exporter"
PROGRAM = "host_metrics"
GIB = 2**30


@functools.cache
def unit_files() -> dict[str, str]:
    """Unit → the text of its file."""
    program = layout.PROGRAMS / f"{PROGRAM}.py"
    return {
        layout.NODE_EXPORTER_UNIT: prometheus.unit(
            "node-exporter", port=prometheus.NODE_PORT, folder=layout.METRICS
        ),
        layout.METRICS_UNIT: prometheus.unit(
            "metrics", program=program, config=layout.METRICS_CONFIG, folder=layout.METRICS
        ),
    }


def files(settings: Settings) -> dict[str, File]:
    """The units, the program with what it imports, and its configuration, by path."""
    serving = settings.host in members.SERVING
    config = {
        "serves": serving,
        "hub": settings.hub,
        "period_s": settings.monitoring_interval_s,
        "memory_floor_bytes": round(settings.memory_floor_gib * GIB),
        "cache_reserve_bytes": round(settings.disk_reserve_gib * GIB),
    }
    parts = programs.siblings(PROGRAM)
    return {
        **{f"{UNITS}/{name}": File(text) for name, text in unit_files().items()},
        **{str(layout.PROGRAMS / f"{part}.py"): File(programs.source(part)) for part in parts},
        str(layout.METRICS_CONFIG): File(json.dumps(config, sort_keys=True) + "\n"),
    }


def watch(settings: Settings) -> Watch:
    units = tuple(unit_files())
    if not members.MONITORS:
        left = Watch(files=tuple(f"{UNITS}/{name}" for name in units), units=units)
        return instances.watch(prometheus.DOOR) | left
    own = Watch(
        files=(*files(settings), str(layout.METRICS), *instances.unit_file()),
        packages=(EXPORTER,),
        units=units,
    )
    return instances.watch(prometheus.DOOR) | own


@operation()
def quiet(settings: Settings, package: str, theirs: str) -> Commands:
    """The package is installed. Its own service, which would listen for everybody, does not start;
    one that somebody runs already stays as it is."""
    if installed(current(settings), package):
        host.noop(f"{package} is installed")
        return
    forget()
    yield StringCommand("systemctl", "mask", "--quiet", QuoteString(theirs))
    yield from packages.install(settings, {package: None})
    yield StringCommand("systemctl", "unmask", "--quiet", QuoteString(theirs))
    yield StringCommand("systemctl", "disable", "--quiet", QuoteString(theirs))


def door_files(settings: Settings, *, make: bool) -> dict[str, str] | None:
    """The door's files; None where its certificate is still to be made, which ``make`` does."""
    sources = [*members.monitors(host.inventory), *settings.metrics_sources]
    vllm = settings.port if settings.host in members.BEHIND else None
    found = {haproxy.CONFIG: prometheus.door(settings, settings, sources, vllm)}
    if settings.tls != "off":
        own = settings.model_copy(update={"listen": settings.metrics_listen})
        read = vault.make_certificate if make else vault.certificate
        # A name of its own: the proxy's certificate may be for other names.
        certificate = read(own, f"{settings.host}-metrics", proxy.names(own))
        if certificate is None:
            return None
        found[haproxy.CERTIFICATE] = certificate
    return found


@operation()
def opened(settings: Settings) -> Commands:
    """Who monitors reads the host's figures, and nobody else."""
    yield from brought(
        lambda make: door_files(settings, make=make),
        lambda wanted: instances.bring(settings, prometheus.DOOR, wanted),
        "the figures are given as wanted",
    )


@operation()
def gone(settings: Settings) -> Commands:
    """No figures where nobody monitors."""
    commands = list(instances.take_down(settings, prometheus.DOOR))
    now = current(settings)
    units = [name for name in unit_files() if f"{UNITS}/{name}" in now.files]
    if units:
        forget()
        commands.append(StringCommand("systemctl", "disable", "--now", "--quiet", *units))
        paths = [*(f"{UNITS}/{name}" for name in units), str(layout.METRICS_CONFIG)]
        commands.append(StringCommand("rm", "-rf", "--", *paths, str(layout.METRICS)))
        commands.append(StringCommand("systemctl", "daemon-reload"))
    if not commands:
        host.noop("no figures are given")
    yield from commands


@deploy("Figures")
def run(*, settings: Settings) -> None:
    if not members.MONITORS:
        gone(name="Give no figures", settings=settings)
        return
    quiet(
        name="Install the node exporter",
        settings=settings,
        package=EXPORTER,
        theirs=f"{EXPORTER}.service",
    )
    instances.present(name="Install HAProxy", settings=settings)
    own = files(settings)
    tree(
        name="Write what reads the host's figures",
        settings=settings,
        files={**own, **instances.unit_file()},
        directories={str(layout.METRICS): Directory()},
        units=(*unit_files(), instances.unit(prometheus.DOOR)),
    )
    running(
        name="Read the host's figures",
        settings=settings,
        units={
            layout.NODE_EXPORTER_UNIT: [f"{UNITS}/{layout.NODE_EXPORTER_UNIT}"],
            layout.METRICS_UNIT: [path for path in own if layout.NODE_EXPORTER_UNIT not in path],
        },
    )
    opened(name="Give the figures to who monitors", settings=settings)
