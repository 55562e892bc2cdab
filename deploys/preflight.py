"""Is every host fit? Asked before anything changes; read-only, from the one snapshot."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import bundle, engine, hub_access, members, serve
from deploys.host_state import Watch, current
from deploys.operations import Commands, refuse
from deploys.packages import check_command
from deploys.report import RUN
from fleet import gateway, host_files, host_packages, preflight
from fleet.difference import facts
from fleet.preflight_finding import Finding
from fleet.preflight_machine import platform
from fleet.preflight_packages import SNAP_DOCKER, VENDOR_HOSTS
from fleet.preflight_room import DOCKER_DIR
from fleet.settings import Settings
from fleet.snapshot import Snapshot

# Findings that upgrade.py is run for.
UPGRADE_MENDS = (
    *("packages", "kernel", "known bad", "driver loaded", "driver version", "compute capability"),
    "persistence mode",
)
UPGRADE_LEAVES = ("skew: platform", "skew: firmware")  # no reason to leave a replica stopped
# On DGX OS no upgrade.py moves these, so it would end with a replica that may not start.
DGX_KEEPS = ("skew: kernel at boot", "skew: container toolkit", "skew: docker")
_snapshots: dict[str, Snapshot] = {}


def watch(settings: Settings) -> Watch:
    return Watch(
        files=(SNAP_DOCKER,),
        sources=VENDOR_HOSTS,
        disks=(settings.hub, DOCKER_DIR),
        ports=(settings.port, settings.open_port),
    )


def _replica(settings: Settings) -> dict[str, Snapshot]:
    """What has been read so far of the hosts that serve one model together with this one."""
    if settings.replica is None:
        return {}
    members = {name for name, s in engine.SETTINGS.items() if s.replica == settings.replica}
    return {name: found for name, found in _snapshots.items() if name in members}


@operation()
def fit(settings: Settings, mends: Collection[str] = ()) -> Commands:
    """The host's own findings. Warnings are told in the table and do not stop the run, nor do
    findings of the names that the run itself ``mends``."""
    now = _snapshots[host.name] = current(settings)
    skewed = [] if mends else preflight.skew(settings.replica or "", _replica(settings))
    found = [f for f in preflight.findings(settings, now) if f.name not in mends]
    found += [] if mends else _endpoint(settings, now)
    RUN.findings[host.name] = [*found, *skewed]
    for finding in preflight.blocked(found):
        yield refuse(finding.line())


def _endpoint(settings: Settings, now: Snapshot) -> list[Finding]:
    """Whether the clients of a gateway keep the name that they use."""
    behind = settings.host in members.BEHIND and bool(members.GATEWAYS)
    served = facts(now.serving.texts).get("served_name")
    if not behind or not served or settings.allow_downtime or not serve.running(now):
        return []
    ended = gateway.ended_name(str(served), members.wanted())
    return [ended] if ended else []


@operation()
def alike(settings: Settings, parts: Collection[str] = ()) -> Commands:
    """The skew gate, for all parts or these. pyinfra has brought every host through ``fit``, or
    ``looked``, before it begins this."""
    for finding in preflight.skew(settings.replica or "", _replica(settings)):
        if not parts or finding.name in parts:
            yield refuse(finding.line())


@operation()
def looked(settings: Settings) -> Commands:
    """The host as its reboot left it, for ``alike``."""
    look(settings)
    host.noop("it is compared with the hosts of its replica")
    yield from ()


def look(settings: Settings) -> None:
    _snapshots[host.name] = current(settings)


def parted(settings: Settings) -> str:
    """Why the hosts of the replica, as they were last looked at, may not start together; ""."""
    found = preflight.skew(settings.replica or "", _replica(settings))
    return "; ".join(f.line() for f in found if f.name not in UPGRADE_LEAVES)


@operation()
def genuine(settings: Settings) -> Commands:
    """The vendors' repositories that are not on the host yet are the pinned ones, and have what is
    pinned. Tried in a temporary folder, so that a wrong one is refused before anything changes."""
    now = current(settings)
    wanted = {
        host_files.cuda(settings): {},
        host_files.docker(settings): host_packages.docker(settings),
        host_files.container_toolkit(settings): host_packages.toolkit(settings),
    }
    new = {r: pins for r, pins in wanted.items() if r.keyring not in now.files}
    if platform(now) != "ubuntu" or not new:
        host.noop("they are known")
        return
    pins = {name: version for some in new.values() for name, version in some.items()}
    yield from bundle.reach(settings)
    try:
        yield check_command(settings, list(new), pins, store=False)
    except OSError as error:
        yield refuse(f"extra_ca: found {settings.extra_ca}, unreadable ({error.strerror})")


@deploy("Preflight")
def before_upgrade(*, settings: Settings) -> None:
    """What an upgrade is there to mend does not stop it."""
    fit(name="Check the host", settings=settings, mends=UPGRADE_MENDS)
    if platform(current(settings)) == "dgx":
        alike(name="Compare the hosts of each replica", settings=settings, parts=DGX_KEEPS)


@deploy("Preflight")
def again(*, settings: Settings) -> None:
    """A reboot may have parted the hosts of a replica."""
    if settings.replica is not None:
        looked(name="Look at the host again", settings=settings)
        alike(name="Compare the hosts of each replica again", settings=settings)


@deploy("Preflight")
def run(*, settings: Settings) -> None:
    fit(name="Check the host", settings=settings)
    alike(name="Compare the hosts of each replica", settings=settings)
    genuine(name="Try the vendors' repositories", settings=settings)
    hub_access.granted(name="Ask the Hub for what is missing", settings=settings)
