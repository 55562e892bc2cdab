"""Two cabled hosts: real netplan, networkd, links and pings.

The links are veth pairs named as a ConnectX-7's functions. What sysfs says of the card stands in:
vendor, port name, speed, and RDMA devices with a GID table that holds the addresses from the start.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import host_netns
from lab.testing import Done, Lab
from tests.lab.host_half_support import NO_IMAGE, changes

HOSTS = 2
DEPLOY = "tests/lab/fabric.py"
NETPLAN = "/etc/netplan/60-vllm-fleet.yaml"
FUNCTIONS = {  # netdev → RDMA device, PCI function
    "enp1s0f0np0": ("rocep1s0f0", "0000:01:00.0"),
    "enP2p1s0f0np0": ("roceP2p1s0f0", "0002:01:00.0"),
}
FACE = """
mkdir -p /run/fabric/net /run/fabric/upper /run/fabric/work
face() {  # netdev, RDMA device, PCI function, GID
    pci=/run/fabric/devices/$3 net=/run/fabric/net/$1 rdma=/sys/class/infiniband/$2
    mkdir -p $pci $net $rdma/device/net/$1 $rdma/ports/1/gids $rdma/ports/1/gid_attrs/types
    echo 0x15b3 > $pci/vendor; echo 0x1021 > $pci/device; ln -sfn $pci $net/device
    echo p0 > $net/phys_port_name; echo 200000 > $net/speed
    for name in mtu carrier; do ln -sfn /sys/devices/virtual/net/$1/$name $net/$name; done
    echo '4: ACTIVE' > $rdma/ports/1/state
    echo $4 > $rdma/ports/1/gids/3; echo 'RoCE v2' > $rdma/ports/1/gid_attrs/types/3
}
"""
# No udevd runs on a lab host; netplan only tells it to read its rules again.
UDEVADM = "#!/bin/sh\n# stands in for udevadm on a host without udevd\nexit 0\n"
COVER = "mount -t overlay fabric -o lowerdir=/run/fabric/net:/sys/class/net /sys/class/net"


def address(host: str, function: int) -> str:
    return f"192.168.{100 + function}.{host[-1]}"


def cabled(lab: Lab, host: str, **more: object) -> str:
    own = [f"{address(host, function)}/24" for function in (0, 1)]
    return json.dumps({"addresses": own, **more})


@pytest.fixture(scope="module", autouse=True)
def cables(lab: Lab) -> None:
    one, two = (host_netns(lab.state, host) for host in lab.state.hosts)
    for netdev in FUNCTIONS:
        pair = ("type", "veth", "peer", "name", netdev, "netns", two)
        subprocess.run(("ip", "-n", one, "link", "add", netdev, *pair), check=True)
        for netns in (one, two):
            subprocess.run(("ip", "-n", netns, "link", "set", netdev, "up"), check=True)
    for host in lab.names:
        calls = [
            f"face {netdev} {rdma} {pci} {ipaddress.IPv6Address(f'::ffff:{address(host, n)}')}"
            for n, (netdev, (rdma, pci)) in enumerate(FUNCTIONS.items())
        ]
        lab.write(host, "/run/face.sh", "\n".join(["set -e", FACE, *calls, COVER]))
        lab.run(host, "sh /run/face.sh")
        lab.write(host, "/usr/local/sbin/udevadm", UDEVADM)
        lab.run(host, "chmod 755 /usr/local/sbin/udevadm")
        lab.run(host, "apt-get -qq update && apt-get -qq install -y netplan.io", timeout=300)


@pytest.fixture
def inventory(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The lab's own, where each host has its addresses of the fabric."""
    path = Path("lab/fabric-test-inventory.py")
    own = {host: json.loads(cabled(lab, host)) for host in lab.names}
    path.write_text(
        "from lab.inventory import spark as _spark\n\n"
        f"_own = {own!r}\n"
        "spark = [(name, {**data, 'fabric': _own[name], 'replica': 'pair'})"
        " for name, data in _spark]\n"
    )
    yield path
    path.unlink()


def fabric(lab: Lab, *words: str, inventory: Path, **data: str) -> Done:
    return lab.pyinfra(
        DEPLOY, *words, data={"vllm_image": NO_IMAGE, **data}, inventory=str(inventory)
    )


def test_both_hosts_get_their_addresses_and_whole_frames_pass(lab: Lab, inventory: Path) -> None:
    done = fabric(lab, inventory=inventory)
    assert done.returncode == 0, done.stdout
    for host in lab.names:
        assert lab.text(host, f"stat -c %a {NETPLAN}") == "600"
        for number, netdev in enumerate(FUNCTIONS):
            told = lab.text(host, f"ip -o address show {netdev}; cat /sys/class/net/{netdev}/mtu")
            assert f"{address(host, number)}/24" in told and told.endswith("9000")
    for number in (0, 1):
        lab.run("spark-01", f"ping -c1 -W2 -M do -s 8972 {address('spark-02', number)}")
    again = fabric(lab, inventory=inventory)
    assert again.returncode == 0 and changes(again.stdout) == 0, again.stdout


def test_drift_is_mended(lab: Lab, inventory: Path) -> None:
    lab.run("spark-01", "ip link set enp1s0f0np0 mtu 1500; ip address flush dev enP2p1s0f0np0")
    done = fabric(lab, inventory=inventory)
    assert done.returncode == 0, done.stdout
    assert lab.text("spark-01", "cat /sys/class/net/enp1s0f0np0/mtu") == "9000"
    lab.run("spark-01", f"ping -c1 -W2 -M do -s 8972 {address('spark-02', 1)}")


def test_without_the_setting_our_file_goes_and_the_connection_stays(
    lab: Lab, inventory: Path
) -> None:
    done = lab.pyinfra(DEPLOY, data={"vllm_image": NO_IMAGE})
    assert done.returncode == 0, done.stdout
    for host in lab.names:
        assert lab.run(host, f"ls {NETPLAN}", check=False).returncode != 0
        assert "enp1s0f0np0" not in lab.text(host, "ls /run/systemd/network /etc/netplan")
    again = lab.pyinfra(DEPLOY, data={"vllm_image": NO_IMAGE})
    assert again.returncode == 0 and changes(again.stdout) == 0, again.stdout
    assert fabric(lab, inventory=inventory).returncode == 0


def test_another_file_for_the_same_netdev_is_refused(lab: Lab, inventory: Path) -> None:
    other = "/etc/netplan/40-cx7.yaml"
    text = "network: {version: 2, ethernets: {enp1s0f0np0: {addresses: [10.0.0.1/24]}}}\n"
    lab.write("spark-01", other, text)
    lab.run("spark-01", f"chmod 600 {other}; rm {NETPLAN}")
    done = fabric(lab, inventory=inventory)
    lab.run("spark-01", f"rm {other}")
    assert done.returncode != 0
    assert "take enp1s0f0np0 out of the other files" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    assert lab.run("spark-01", f"ls {NETPLAN}", check=False).returncode != 0


def test_the_device_of_our_own_connection_is_left_alone(lab: Lab, inventory: Path) -> None:
    """eth0 is given the face of a function: this run's SSH comes in on it."""
    lab.run("spark-01", "cp -a /run/fabric/net/enp1s0f0np0 /run/fabric/net/eth0; "
            "rm -r /run/fabric/net/enp1s0f0np0; mount -o remount /sys/class/net; "
            f"umount /sys/class/net; {COVER}")  # fmt: skip
    before = lab.text("spark-01", "ip -o address show eth0")
    done = fabric(lab, inventory=inventory)
    assert done.returncode != 0
    assert "found our own SSH connection on eth0" in done.stdout, done.stdout
    assert lab.text("spark-01", "ip -o address show eth0") == before
    assert lab.run("spark-01", f"ls {NETPLAN}", check=False).returncode != 0
