"""The fast network of a cabled host: netplan for both functions of its cage, and the proof."""

from __future__ import annotations

from pyinfra import host, state
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import engine, fabric_test, programs
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, differing, refuse, tree
from deploys.report import RUN
from fleet import host_files, preflight_fabric
from fleet.fabric import Cabled, FabricError, cage, peers
from fleet.fabric_facts import Function
from fleet.replicas import others
from fleet.settings import Settings
from fleet.snapshot import Snapshot

ETHERNET_MTU = 1500  # where a replica talks over an ordinary network


def watch(settings: Settings) -> Watch:
    return Watch(files=(host_files.NETPLAN,))


def request(settings: Settings) -> dict[str, object] | None:
    """What the snapshot is asked; None where nothing joins the host to others."""
    if settings.fabric is None and settings.ranks:
        return {"peers": [r.address for r in others(settings)], "mtu": ETHERNET_MTU}
    if settings.fabric is None:
        return None
    return {"peers": list(peers(settings.host, engine.SETTINGS)), "mtu": settings.fabric.mtu}


def files(wanted: Cabled, pair: tuple[Function, Function]) -> dict[str, File]:
    netdevs = {f.netdev: own for f, own in zip(pair, wanted.addresses, strict=True)}
    texts = host_files.netplan(netdevs, wanted.mtu)
    return {path: File(text, mode="600") for path, text in texts.items()}


def settled(now: Snapshot, wanted: Cabled, pair: tuple[Function, Function]) -> bool:
    """The file is as wanted, and so is the kernel; without a cable there is nothing to apply, but
    a link that nobody has set up yet does not tell (carrier None) and is to be."""
    return not differing(now, files(wanted, pair)) and all(
        f.mtu == wanted.mtu and own in f.addresses
        for f, own in zip(pair, wanted.addresses, strict=True)
        if f.carrier is not False
    )


def cut_off(now: Snapshot, pair: tuple[Function, Function]) -> str:
    """Why our own connection would be at risk; "" when it is not."""
    if now.fabric.ours is None:
        return (
            "fabric: found no trace of the device that our own SSH connection comes in on; "
            "connect with SSH as the inventory's user, then run again"
        )
    ours = [f.netdev for f in pair if f.netdev in now.fabric.ours]
    if not ours:
        return ""
    return (
        f"fabric: found our own SSH connection on {', '.join(ours)}, which would be configured "
        "anew; set ssh_hostname to the host's address on another network"
    )


@operation()
def configured(settings: Settings) -> Commands:
    """Both functions have their addresses and MTU, by a file that netplan has accepted first."""
    now, wanted = current(settings), settings.fabric
    assert wanted is not None  # run() asks
    try:
        pair = cage(wanted, now.fabric)
    except FabricError as error:
        host.noop(f"left as it is: {error}")  # the preflight told; it blocks where it matters
        return
    if settled(now, wanted, pair):
        host.noop("both functions are as wanted")
        return
    if line := cut_off(now, pair):
        yield refuse(line)
        return
    forget()
    [(path, file)] = files(wanted, pair).items()
    yield programs.with_siblings(
        "apply_netplan",
        {
            "path": path,
            "text": file.text,
            "netdevs": {f.netdev: own for f, own in zip(pair, wanted.addresses, strict=True)},
            "mtu": wanted.mtu,
        },
    )


@operation()
def proved(settings: Settings) -> Commands:
    """Seen again after all hosts were configured. A replica cannot do without; others are told."""
    forget()  # the other hosts were configured meanwhile
    now, wanted = current(settings), settings.fabric
    assert wanted is not None
    if not state.is_executing and not _is_settled(now, wanted):
        host.noop("told once it is configured")
        return
    found = preflight_fabric.fabric(settings, now)
    kept = [f for f in RUN.findings.get(host.name, []) if not f.name.startswith("fabric ")]
    RUN.findings[host.name] = [*kept, *found]
    wrong = [f for f in found if f.name in preflight_fabric.MENDED and f.level != "ready"]
    for finding in wrong if settings.replica else ():
        yield refuse(finding.line())
    if not wrong or not settings.replica:
        host.noop("the fabric was looked at")


def _is_settled(now: Snapshot, wanted: Cabled) -> bool:
    try:
        return settled(now, wanted, cage(wanted, now.fabric))
    except FabricError:
        return True


@deploy("Fabric")
def run(*, settings: Settings) -> None:
    if settings.fabric is None:
        # The addresses go at the next boot: taking them now might be what cuts us off.
        tree(
            name="No fast network",
            settings=settings,
            files={},
            absent=[host_files.NETPLAN],
            then=["netplan generate"],
        )
        return
    configured(name="Configure the fast network", settings=settings)
    proved(name="Prove the fast network", settings=settings)
    if settings.fabric_test:
        fabric_test.measured(name="Measure the fast network", settings=settings)
