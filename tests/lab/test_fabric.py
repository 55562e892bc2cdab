"""Two cabled hosts: netplan, networkd and frames are real, the cards stand in (lab/cabling.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import cabling
from lab.command import run as command
from lab.network import host_netns
from lab.testing import REPO, Done, Lab
from tests.lab.host_half_support import NO_IMAGE, changes, state

HOSTS = 2
ONE, TWO = "spark-01", "spark-02"
FIRST, SECOND = (function.netdev for function in cabling.CAGES["p0"])
DEPLOY = "tests/lab/fabric_half.py"
FILE = "/etc/netplan/60-vllm-fleet.yaml"
OTHER = "/etc/netplan/90-other.yaml"


class Pair:
    """Both hosts, and the deploy with data of each host's own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        (folder / "group_data").mkdir()
        for name, place in (("all", "group_data/all.py"), ("spark", "lab/group_data/all.py")):
            (folder / f"group_data/{name}.py").write_text((REPO / place).read_text())

    def run(self, *words: str, replica: str | None = "pair", **own: Any) -> Done:
        """``own``: host → what differs there from a plain cabled host; dashes as underscores."""
        data: dict[str, dict[str, Any]] = {name: {"fabric": cabled(name)} for name in (ONE, TWO)}
        for name, more in own.items():
            data[name.replace("_", "-")] |= more
        (self.folder / "inventory.py").write_text(
            f"import sys\nsys.path.insert(0, {str(REPO)!r})\n"
            "from lab import inventory as lab_inventory\n"
            f"OWN = {data!r}\n"
            "spark = [(name, {**known, **OWN[name]}) for name, known in lab_inventory.spark]\n"
        )
        more = {"replica": replica, "tensor_parallel": "2"} if replica else {}
        return self.lab.pyinfra(
            DEPLOY, *words, data={"vllm_image": NO_IMAGE, **more},
            inventory=str(self.folder / "inventory.py"),
        )  # fmt: skip

    def refused(self, *told: str, host: str = TWO, **own: Any) -> str:
        """One line for ``host`` says all of ``told``; no file of either host has changed."""
        before = [state(self.lab, name) for name in (ONE, TWO)]
        done = self.run(**own)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        lines = [line for line in done.stdout.splitlines() if f"[{host}]" in line]
        assert any(all(word in line for word in told) for line in lines), done.stdout
        assert [state(self.lab, name) for name in (ONE, TWO)] == before
        return done.stdout

    def settled(self) -> None:
        """All is as wanted: a run has nothing to do, and whole frames arrive in both subnets."""
        done = self.run()
        assert done.returncode == 0, done.stdout
        assert changes(done.stdout) == 0, done.stdout
        self.talks()

    def talks(self) -> None:
        for host, number in ((ONE, 2), (TWO, 1)):
            for net in (100, 101):
                self.lab.run(host, f"ping -c1 -W2 -M do -s 8972 192.168.{net}.{number}")

    def link(self, host: str, netdev: str) -> dict[str, Any]:
        [found] = json.loads(self.lab.text(host, f"ip -j address show dev {netdev}"))
        return dict(found)

    def addresses(self, host: str, netdev: str) -> list[str]:
        return [a["local"] for a in self.link(host, netdev)["addr_info"] if a["family"] == "inet"]

    def linked(self, host: str) -> None:
        """Wait until the last of both functions reaches the other host again."""
        other = 3 - int(host[-2:])
        pings = f"ping -c1 -W1 192.168.100.{other} && ping -c1 -W1 192.168.101.{other}"
        self.lab.run(host, f"timeout 60 sh -c 'until {pings}; do sleep 0.5; done'")

    def outside(self, host: str, *words: str) -> None:
        """``ip`` on the links of a host, whatever the host does."""
        netns = host_netns(self.lab.state, self.lab.state.host(host))
        command("ip", "-n", netns, *words)


@contextmanager
def fault(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """Something is wrong meanwhile, and mended whatever came of it."""
    begin()
    try:
        yield
    finally:
        end()


def cabled(host: str, **other: object) -> dict[str, object]:
    number = int(host[-2:])
    return {"addresses": [f"192.168.100.{number}/24", f"192.168.101.{number}/24"], **other}


@pytest.fixture(scope="module")
def pair(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A cable from cage p0 of the one to cage p0 of the other; netplan as Ubuntu brings it."""
    for host in lab.names:
        lab.run(host, "apt-get -q update && apt-get install -y -q netplan.io", timeout=300)
        cabling.plug(lab.state, lab.state.host(host), "p0")
    yield Pair(lab, tmp_path_factory.mktemp("fabric"))
    for host in lab.names:
        cabling.unplug(lab.state, lab.state.host(host))


@pytest.fixture(scope="module", autouse=True)
def first(pair: Pair) -> Done:
    """The first run, from links that nobody has set up."""
    assert "UP" not in pair.link(ONE, FIRST)["flags"]
    done = pair.run()
    assert done.returncode == 0, done.stdout
    return done


def test_both_functions_of_both_hosts_get_address_and_mtu(pair: Pair, first: Done) -> None:
    assert changes(first.stdout) == 2
    for host, number in ((ONE, 1), (TWO, 2)):
        for netdev, net in ((FIRST, 100), (SECOND, 101)):
            assert pair.addresses(host, netdev) == [f"192.168.{net}.{number}"]
            assert pair.link(host, netdev)["mtu"] == 9000
        assert pair.lab.text(host, f"stat -c %a {FILE}") == "600"
        assert "configured" in pair.lab.text(host, f"networkctl status {FIRST} -n0")


def test_a_second_run_changes_nothing_and_whole_frames_arrive(pair: Pair) -> None:
    before = [state(pair.lab, host) for host in (ONE, TWO)]
    pair.settled()
    assert [state(pair.lab, host) for host in (ONE, TWO)] == before


def test_it_is_there_again_after_a_power_cut(pair: Pair) -> None:
    pair.lab.kill(TWO)
    for netdev in (FIRST, SECOND):  # as a new boot finds its links; ours outlive the host
        pair.outside(TWO, "link", "set", netdev, "down", "mtu", "1500")
        pair.outside(TWO, "address", "flush", "dev", netdev)
    pair.lab.start(TWO)
    pair.lab.run(
        TWO, f"timeout 30 sh -c 'until ping -c1 -W1 -I {SECOND} 192.168.101.1; do :; done'"
    )
    pair.settled()


def test_what_somebody_changed_by_hand_is_mended(pair: Pair) -> None:
    pair.lab.run(ONE, f"ip link set {FIRST} mtu 1500 && ip address flush dev {SECOND}")
    done = pair.run()
    assert done.returncode == 0 and changes(done.stdout) == 1, done.stdout
    pair.settled()


def test_a_pulled_cable_is_refused_with_its_remedy(pair: Pair) -> None:
    host = pair.lab.state.host(TWO)
    with fault(lambda: cabling.lose(pair.lab.state, host, "p0"),
               lambda: cabling.mend(pair.lab.state, host, "p0")):  # fmt: skip
        pair.refused("fabric cable", f"no link on {FIRST} and {SECOND}", "at both ends")
        pair.refused("fabric peers", "no answer from 192.168.100.2, 192.168.101.2", host=ONE)
    pair.linked(TWO)
    pair.settled()


def test_a_switch_that_drops_whole_frames_is_refused(pair: Pair) -> None:
    host = pair.lab.state.host(TWO)
    with fault(lambda: cabling.narrow(pair.lab.state, host, "p0", 1500),
               lambda: cabling.narrow(pair.lab.state, host, "p0")):  # fmt: skip
        pair.refused("fabric peers", "whole frames of 9000 bytes", "-s 8972", "the switch")
    pair.settled()


def test_a_device_without_rdma_is_refused(pair: Pair) -> None:
    device = "/sys/class/infiniband/rocep1s0f0"
    with fault(
        lambda: pair.lab.run(TWO, f"systemctl stop lab-cards && cp -r {device} /run/kept "
                             f"&& rm -r {device}"),
        lambda: pair.lab.run(TWO, f"cp -r /run/kept {device} && systemctl start lab-cards"),
    ):  # fmt: skip
        pair.refused("fabric gid", FIRST, "load mlx5_ib")
    pair.settled()


def test_another_netplan_file_about_the_device_is_refused(pair: Pair) -> None:
    pair.lab.write(TWO, "/root/other", f"network: {{ethernets: {{{FIRST}: {{mtu: 1500}}}}}}\n")
    with fault(lambda: pair.lab.run(TWO, f"mv {FILE} /root/kept && mv /root/other {OTHER}"),
               lambda: pair.lab.run(TWO, f"rm {OTHER} && mv /root/kept {FILE}")):  # fmt: skip
        pair.refused(FIRST, "found mtu 1500", "wanted 9000", "out of the other files")
    pair.settled()


def test_an_apply_that_would_cost_us_the_connection_is_taken_back(pair: Pair) -> None:
    """A file of somebody else's, not applied yet, gives eth0 another address than it has."""
    eth0 = "network: {ethernets: {eth0: {addresses: [192.0.2.9/24]}}}\n"
    pair.lab.write(TWO, "/root/other", eth0)
    back = f"rm {OTHER} && mv /root/kept {FILE} && netplan apply; ip address show dev eth0 | "
    back += "grep -q 198.18.77.12 || ip address add 198.18.77.12/24 dev eth0"
    with fault(lambda: pair.lab.run(TWO, f"mv {FILE} /root/kept && mv /root/other {OTHER}"),
               lambda: pair.lab.run(TWO, back)):  # fmt: skip
        pair.refused("netplan apply took away eth0 198.18.77.12/24", "see what else netplan")
        assert "198.18.77.12" in pair.addresses(TWO, "eth0")
        assert pair.lab.run(TWO, f"ls {FILE}", check=False).returncode != 0
    pair.settled()


def test_our_own_connection_over_the_device_is_never_configured_anew(pair: Pair) -> None:
    net, known = pair.lab.state.netns, pair.lab.state.known_hosts
    [line] = [line for line in known.read_text().splitlines() if line.startswith(TWO)]
    (pair.folder / "known_hosts").write_text(f"192.168.100.2 {line.split(' ', 1)[1]}\n")
    over = {
        "ssh_hostname": "192.168.100.2",
        "ssh_known_hosts_file": str(pair.folder / "known_hosts"),
    }
    control = ("192.168.100.254/24", "dev", cabling.SWITCH)
    with fault(lambda: command("ip", "-n", net, "address", "add", *control),
               lambda: command("ip", "-n", net, "address", "del", *control)):  # fmt: skip
        done = pair.run(spark_02=over)
        assert done.returncode == 0 and changes(done.stdout) == 0, done.stdout
        other = {"fabric": cabled(TWO, mtu=8000), **over}
        found = f"found our own SSH connection on {FIRST}"
        pair.refused(found, "set ssh_hostname", spark_02=other, replica=None)
    pair.settled()


def test_a_cable_in_the_other_cage_is_followed_unless_the_cage_is_named(pair: Pair) -> None:
    host = pair.lab.state.host(TWO)
    cabling.lose(pair.lab.state, host, "p0")
    cabling.plug(pair.lab.state, host, "p1")
    other, second = (function.netdev for function in cabling.CAGES["p1"])
    pair.lab.run(TWO, f"ip link set {other} up && ip link set {second} up")
    pair.refused("fabric cable", FIRST, "fabric.cage", spark_02={"fabric": cabled(TWO, cage="p0")})
    done = pair.run()
    assert done.returncode == 0 and changes(done.stdout) == 1, done.stdout
    assert pair.addresses(TWO, other) == ["192.168.100.2"]
    pair.settled()


def test_without_the_setting_the_file_goes(pair: Pair) -> None:
    nothing = {"fabric": None}
    done = pair.run(replica=None, spark_01=nothing, spark_02=nothing)
    assert done.returncode == 0, done.stdout
    assert pair.lab.run(ONE, f"ls {FILE}", check=False).returncode != 0
    assert changes(pair.run(replica=None, spark_01=nothing, spark_02=nothing).stdout) == 0
