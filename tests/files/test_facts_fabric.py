"""The reader of ConnectX-7 facts, against a tree laid out as sysfs is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import facts_fabric

from tests.files.test_snapshot import take


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def card(top: Path, netdev: str, rdma: str, pci: str, device: str = "0x1021") -> Path:
    """One function as the kernel shows it; what is returned is its netdev's folder."""
    function = top / "devices" / pci
    link = function / "net" / netdev
    for name, text in {
        "phys_port_name": "p0", "carrier": "1", "speed": "200000", "mtu": "1500",
    }.items():  # fmt: skip
        put(link / name, text)
    put(function / "vendor", "0x15b3")
    put(function / "device", device)
    (link / "device").symlink_to(function)
    port = function / "infiniband" / rdma
    (port / "ports" / "1" / "gids").mkdir(parents=True)
    (port / "device").symlink_to(function)
    put(port / "ports/1/state", "4: ACTIVE")
    put(port / "ports/1/rate", "100 Gb/sec (2X NDR)")
    for kind, name, place in (("net", netdev, link), ("infiniband", rdma, port)):
        (top / "class" / kind).mkdir(parents=True, exist_ok=True)
        (top / "class" / kind / name).symlink_to(place)
    return link


def gid(top: Path, rdma: str, index: int, value: str, kind: str | None) -> None:
    port = top / "class" / "infiniband" / rdma / "ports" / "1"
    put(port / "gids" / str(index), value)
    if kind:
        put(port / "gid_attrs" / "types" / str(index), kind)


def test_functions_are_told_in_pci_order_with_their_rdma_devices_and_gids(tmp_path: Path) -> None:
    card(tmp_path, "enP2p1s0f0np0", "roceP2p1s0f0", "0002:01:00.0")
    card(tmp_path, "enp1s0f0np0", "rocep1s0f0", "0000:01:00.0")
    card(tmp_path, "enp9s0", "mlx4_0", "0009:01:00.0", device="0x1003")
    (tmp_path / "class/net/lo").mkdir()
    empty = "0000:0000:0000:0000:0000:0000:0000:0000"
    ours = "0000:0000:0000:0000:0000:ffff:c0a8:6401"
    gid(tmp_path, "rocep1s0f0", 10, empty, None)
    gid(tmp_path, "rocep1s0f0", 2, ours, "IB/RoCE v1")
    gid(tmp_path, "rocep1s0f0", 3, ours, "RoCE v2")
    found = facts_fabric.functions(tmp_path / "class", {"enp1s0f0np0": ["192.168.100.1/24"]})
    assert [f["netdev"] for f in found] == ["enp1s0f0np0", "enP2p1s0f0np0"]
    assert found[0] == {
        "netdev": "enp1s0f0np0",
        "pci": "0000:01:00.0",
        "port": "p0",
        "carrier": True,
        "speed": 200000,
        "mtu": 1500,
        "addresses": ["192.168.100.1/24"],
        "rdma": "rocep1s0f0",
        "state": "4: ACTIVE",
        "rate": "100 Gb/sec (2X NDR)",
        "gids": [
            {"index": 2, "gid": ours, "type": "IB/RoCE v1"},
            {"index": 3, "gid": ours, "type": "RoCE v2"},
        ],
    }
    assert (found[1]["rdma"], found[1]["gids"]) == ("roceP2p1s0f0", [])


def test_a_link_that_is_down_is_not_known_rather_than_wrong(tmp_path: Path) -> None:
    link = card(tmp_path, "enp1s0f0np0", "rocep1s0f0", "0000:01:00.0")
    for name in ("carrier", "phys_port_name"):  # the kernel refuses: here a folder does
        (link / name).unlink()
        (link / name).mkdir()
    put(link / "speed", "-1")
    [found] = facts_fabric.functions(tmp_path / "class", {})
    assert (found["carrier"], found["port"], found["speed"]) == (None, None, None)


def test_without_the_rdma_driver_the_netdev_is_still_told(tmp_path: Path) -> None:
    card(tmp_path, "enp1s0f0np0", "rocep1s0f0", "0000:01:00.0")
    (tmp_path / "class/infiniband/rocep1s0f0").unlink()
    [found] = facts_fabric.functions(tmp_path / "class", {})
    assert found["netdev"] == "enp1s0f0np0" and "rdma" not in found


def test_our_connection_is_traced_through_bridge_and_bond(tmp_path: Path) -> None:
    for place in ("br0/lower_bond0", "bond0/lower_enp1s0f0np0", "eth1"):
        (tmp_path / place).mkdir(parents=True)
    own = {"br0": ["192.0.2.1/24"], "bond0": [], "eth1": ["192.0.2.9/24"]}
    found = facts_fabric.carrying(tmp_path, own, "192.0.2.1")
    assert found == ["bond0", "br0", "enp1s0f0np0"]
    assert facts_fabric.carrying(tmp_path, own, "192.0.2.9") == ["eth1"]
    assert facts_fabric.carrying(tmp_path, own, None) is None


def test_addresses_are_those_of_ip_without_link_local_ones() -> None:
    listing = [
        {
            "ifname": "eth1",
            "addr_info": [
                {"local": "192.0.2.1", "prefixlen": 24, "scope": "global"},
                {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ],
        },
        {},
    ]
    assert facts_fabric.by_netdev(json.dumps(listing)) == {"eth1": ["192.0.2.1/24"]}


def test_the_snapshot_has_it_only_when_asked() -> None:
    assert take({})["fabric"] is None
    found = take({"fabric": {"peers": ["127.0.0.1"], "mtu": 1500}})
    assert "fabric" not in found["errors"]
    has_ping = shutil.which("ping") is not None
    assert found["fabric"]["reached"] == {"127.0.0.1": True if has_ping else None}
    assert [f for f in found["fabric"]["functions"] if not f["pci"]] == []


def test_the_way_up_to_the_login_is_walked() -> None:
    above = list(facts_fabric.ancestors())
    assert above[0] == os.getpid() and os.getppid() in above
