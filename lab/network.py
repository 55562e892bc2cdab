"""The lab's network: namespaces of its own, a bridge between them, and no route out.

The control side's namespace holds the bridge and 198.18.77.1; each host has a namespace and a veth.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.command import LabError, run
from lab.state import CONTROL, LabHost, State

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def host_netns(state: State, host: LabHost) -> str:
    """Name of the namespace of one host."""
    return f"{state.netns}-{host.name}"


def create(state: State) -> None:
    """The control side: a bridge with its address, up."""
    net = state.netns
    run("ip", "netns", "add", net)
    run("ip", "-n", net, "link", "set", "lo", "up")
    run("ip", "-n", net, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    run("ip", "-n", net, "addr", "add", f"{CONTROL}/24", "dev", "br0")
    run("ip", "-n", net, "link", "set", "br0", "up")


def connect(state: State, host: LabHost) -> None:
    """A host's namespace, with eth0 plugged into the bridge."""
    net, own = state.netns, host_netns(state, host)
    run("ip", "netns", "add", own)
    end = ("type", "veth", "peer", "name", "eth0", "netns", own)
    run("ip", "-n", net, "link", "add", host.name, *end)
    run("ip", "-n", net, "link", "set", host.name, "master", "br0", "up")
    run("ip", "-n", own, "link", "set", "lo", "up")
    run("ip", "-n", own, "addr", "add", f"{host.address}/24", "dev", "eth0")
    run("ip", "-n", own, "link", "set", "eth0", "up")


def cut(state: State, host: LabHost) -> None:
    """Pull the host's cable at the bridge."""
    run("ip", "-n", state.netns, "link", "set", host.name, "down")


def mend(state: State, host: LabHost) -> None:
    """Plug it in again."""
    run("ip", "-n", state.netns, "link", "set", host.name, "up")


def cap(state: State, host: LabHost, mbit: float) -> None:
    """Let the host's cable carry so much each way; 0 takes the limit away."""
    limit(state.netns, host.name, mbit)
    limit(host_netns(state, host), "eth0", mbit)


def limit(netns: str, device: str, mbit: float) -> None:
    """Let a device send so much; 0 takes the limit away. ``br0``: what the control side sends."""
    if mbit:
        rate = ("rate", f"{int(mbit * 1000)}kbit", "burst", "64kb", "latency", "50ms")
        run("tc", "-n", netns, "qdisc", "replace", "dev", device, "root", "tbf", *rate)
    else:
        run("tc", "-n", netns, "qdisc", "del", "dev", device, "root", check=False)


def remove(name: str) -> None:
    """Delete a lab's namespaces; with the last one, also iproute2's mount that holds them."""
    for netns in sorted(NAMED.glob(f"{name}*")):
        if netns.name == name or netns.name.startswith(f"{name}-"):
            run("ip", "netns", "delete", netns.name)
    if NAMED.is_dir() and not any(NAMED.iterdir()):
        run("umount", NAMED, check=False)
        NAMED.rmdir()


def enter(netns: str) -> None:
    """Move this thread, and what it starts from now on, into a named namespace."""
    try:
        handle = os.open(NAMED / netns, os.O_RDONLY)
    except FileNotFoundError:
        raise LabError(f"network namespace {netns}: not there; is the lab up?") from None
    try:
        switch(handle)
    finally:
        os.close(handle)


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """Be in a named namespace for a while; sockets made there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    enter(netns)
    try:
        yield
    finally:
        switch(here)
        os.close(here)


def switch(handle: int) -> None:
    """setns() for the network, or LabError."""
    if libc.setns(handle, CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise LabError(f"entering the lab's network namespace: {reason}; it needs root")
