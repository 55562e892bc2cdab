"""Bringing a lab up and taking it down without a trace, also after an ``up`` that was killed."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lab import arm64, cgroup, face, hosts, machine, network, overlay, roots, services
from lab.cache import locked
from lab.command import LabError
from lab.paths import cache_dir, disk_dir
from lab.progress import say, step
from lab.state import Arch, LabHost, Platform, State, load, new_hosts, save
from lab.supply import Supply
from lab.supply.factory import dgx_layer

AT_ONCE = 4  # hosts booted side by side; more is slower on few cores
MOST = 40


def up(wanted: State) -> State:
    """Boot the lab that ``wanted`` describes; returns its state once every host answers.

    A lab of that name that is up already is left as it is if it is the same, else refused.
    """
    machine.require()
    with lab_lock(wanted.name):
        there = existing(wanted)
        if there:
            say(f"{wanted.name} is up already")
            return there
        clear(wanted)
        try:
            return build(wanted)
        except BaseException:
            clear(wanted)
            raise


def wanted(
    name: str,
    count: int,
    arch: Arch = "amd64",
    platform: Platform = "ubuntu",
    variant: str = "spark",
) -> State:
    """The description of a lab, checked."""
    if not 1 <= count <= MOST:
        raise LabError(f"--hosts: found {count}, allowed: 1 to {MOST}")
    face.variant(variant)
    return State(name, arch, platform, variant, new_hosts(count), disk_path=str(disk_dir(name)))


def existing(want: State) -> State | None:
    """The same lab if it is up; None if there is none, or only the rest of a killed ``up``."""
    try:
        there = load(want.name)
    except LabError:
        return None
    if not there.ready:
        return None
    for what in ("arch", "platform", "variant", "hosts"):
        if getattr(there, what) != getattr(want, what):
            raise LabError(f"lab {want.name}: is up with other {what}; python -m lab down, then up")
    return there


def build(want: State) -> State:
    """From nothing to hosts that answer."""
    root = roots.root(want.arch)
    supplied, offered = services.prepare(want)
    layers = [write_layer(want, root, supplied), root]
    if want.platform == "dgx":
        layers.insert(0, dgx_layer(root, supplied))
    state = replace(
        want,
        layers=tuple(str(layer) for layer in layers),
        names=supplied.names,
        fingerprints=dict(supplied.fingerprints),
        ca=str(supplied.ca.certificate),
        images=dict(offered.images),
    )
    with machine.shared():
        save(state)
        machine.tune()
        if state.arch == "arm64":
            arm64.enable(roots.emulator(), state.netns)
        network.create(state)
    hosts.make_key(state.ssh_key, f"lab-{state.name}")
    save_known_hosts(state)
    services.start(state, supplied, offered)
    with step(f"booting {len(state.hosts)} hosts"):
        each(state, lambda host: boot(state, host))
    return save(replace(state, ready=True))


def write_layer(state: State, root: Path, supplied: Supply) -> Path:
    """The layer that all hosts of this lab share: the face, and what makes them use the gate."""
    layer = state.disk / "layer"
    layer.mkdir(parents=True)
    face.write(layer, state.platform, face.variant(state.variant))
    services.write(layer, root, supplied)
    return layer


def save_known_hosts(state: State) -> None:
    """Make every host's key and the file by which the control side knows them."""
    lines = []
    for host in state.hosts:
        key = hosts.host_key(state, host).with_suffix(".pub").read_text().split()
        lines.append(f"{host.name},{host.address} {key[0]} {key[1]}\n")
    state.known_hosts.write_text("".join(lines))


def boot(state: State, host: LabHost) -> None:
    """Network, disk, power, and wait until it answers."""
    network.connect(state, host)
    fresh(state, host)


def fresh(state: State, host: LabHost) -> None:
    """A bare host with an empty disk, running."""
    hosts.prepare(state, host, [Path(layer) for layer in state.layers], state.names)
    hosts.start(state, host)
    hosts.wait(state, host)


def reset(state: State, *names: str) -> None:
    """Throw away what hosts hold and boot them bare again (about a second); default: all hosts."""
    chosen = [state.host(name) for name in names] or list(state.hosts)

    def again(host: LabHost) -> None:
        hosts.discard(state, host)
        fresh(state, host)

    side_by_side(again, chosen)


def each(state: State, action: Callable[[LabHost], None]) -> None:
    """Do it for every host."""
    side_by_side(action, list(state.hosts))


def side_by_side(action: Callable[[LabHost], None], chosen: list[LabHost]) -> None:
    """A few hosts at a time; the first failure is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(action, chosen))


def down(name: str) -> None:
    """Take the lab away, whatever state it is in. Nothing to do is no error."""
    with lab_lock(name):
        try:
            state = load(name)
        except LabError:
            state = State(name, disk_path=str(disk_dir(name)))
        clear(state)


def clear(state: State) -> None:
    """Processes, then mounts, namespaces, files, cgroups, machine settings: in this order."""
    for group in sorted(cgroup.members(state.name, "")[-1].glob("*/")):
        cgroup.kill(state.name, group.name)
    for own in state.disk.glob("*/"):
        hosts.unlock(own)
    overlay.unmount(state.disk)
    with machine.shared():
        network.remove(state.netns)
        arm64.disable(state.netns)
        for directory in (state.disk, state.run):
            if directory.exists():
                shutil.rmtree(directory)
        hosts.clear_nspawn(state)
        cgroup.remove(state.name)
        machine.restore()


@contextmanager
def lab_lock(name: str) -> Iterator[None]:
    """One ``up`` or ``down`` of a lab at a time; the lock lies in the cache, /run stays clean."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / f"lab-{name}.lock"):
        yield
