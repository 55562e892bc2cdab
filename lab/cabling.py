"""Stand-in for ConnectX-7 cards and their cables: veth links to a switch of the control side.

A host sees both functions of a cage under their real names, with what sysfs and RDMA would show
(`lab/cards/`, see lab/README.md). Addresses, MTU, frames and lost links are the kernel's own.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import hosts
from lab.command import run
from lab.network import host_netns
from lab.state import LabHost, State

CARDS = Path(__file__).parent / "cards"
PROGRAMS = "usr/local/lib/lab"
SWITCH = "fabric"
JUMBO = 9216  # bytes that the switch passes


@dataclass(frozen=True)
class Function:
    """One PCI function of a card, named as on a GB10."""

    netdev: str
    pci: str
    rdma: str


CAGES = {
    "p0": (
        Function("enp1s0f0np0", "0000:01:00.0", "rocep1s0f0"),
        Function("enP2p1s0f0np0", "0002:01:00.0", "roceP2p1s0f0"),
    ),
    "p1": (
        Function("enp1s0f1np1", "0000:01:00.1", "rocep1s0f1"),
        Function("enP2p1s0f1np1", "0002:01:00.1", "roceP2p1s0f1"),
    ),
}


def plug(state: State, host: LabHost, cage: str) -> None:
    """A card with this cage cabled; its links are down until the host sets them up."""
    net = state.netns
    if not run("ip", "-n", net, "link", "show", SWITCH, check=False):
        run("ip", "-n", net, "link", "add", SWITCH, "type", "bridge", "forward_delay", "0")
        run("ip", "-n", net, "link", "set", SWITCH, "up")
    for number, function in enumerate(CAGES[cage]):
        port = _port(host, cage, number)
        own = ("type", "veth", "peer", "name", function.netdev, "netns", host_netns(state, host))
        run("ip", "-n", net, "link", "add", port, "mtu", str(JUMBO), *own)
        run("ip", "-n", net, "link", "set", port, "master", SWITCH, "up")
    show(state, host, cage)


def show(state: State, host: LabHost, cage: str) -> None:
    """What the host needs to see the links as a card, now and after each boot."""
    root = hosts.home(state, host) / "root"
    for folder in (PROGRAMS, "etc/lab"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, folder in (
        *((name, PROGRAMS) for name in ("show", "mlx5_ib")),
        ("udevadm", "usr/local/sbin"),
        ("lab-cards.service", "etc/systemd/system"),
    ):
        shutil.copy(CARDS / name, root / folder / name)
    with (root / "etc/lab/cards").open("a") as lines:
        for function in CAGES[cage]:
            lines.write(f"{function.netdev} {function.pci} {cage} {function.rdma}\n")
    words = "sudo systemctl daemon-reload && sudo systemctl enable lab-cards"
    hosts.execute(state, host, f"{words} && sudo systemctl restart lab-cards")


def lose(state: State, host: LabHost, cage: str) -> None:
    """The cable is pulled at the switch: no carrier on both functions."""
    _set(state, host, cage, "down")


def mend(state: State, host: LabHost, cage: str) -> None:
    """It is in again."""
    _set(state, host, cage, "up")


def narrow(state: State, host: LabHost, cage: str, mtu: int = JUMBO) -> None:
    """The switch's ports drop longer frames than ``mtu``."""
    _set(state, host, cage, "mtu", str(mtu))


def unplug(state: State, host: LabHost) -> None:
    """Without a cable the card is absent from PCI: its links go, and all that they had."""
    for cage, functions in CAGES.items():
        for number in range(len(functions)):
            run("ip", "-n", state.netns, "link", "delete", _port(host, cage, number), check=False)


def _set(state: State, host: LabHost, cage: str, *words: str) -> None:
    for number in range(len(CAGES[cage])):
        run("ip", "-n", state.netns, "link", "set", _port(host, cage, number), *words)


def _port(host: LabHost, cage: str, number: int) -> str:
    """The switch's end of a link."""
    return f"{cage}{number}-{host.name}"
