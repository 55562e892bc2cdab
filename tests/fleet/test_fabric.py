"""The fast network: cage, netplan text, environment, findings, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from fleet import fabric, host_files, preflight, preflight_fabric
from fleet.fabric import FabricError
from fleet.fabric_facts import Fabric
from fleet.serving import Catalogue
from fleet.settings import Settings
from tests.fleet.examples import load, problems
from tests.fleet.host_examples import snapshot

ADDRESSES = ["192.168.100.1/24", "192.168.101.1/24"]
OTHERS = ["192.168.100.2/24", "192.168.101.2/24"]
V1, V2 = "IB/RoCE v1", "RoCE v2"


def function(netdev: str, rdma: str, pci: str, address: str, **more: Any) -> dict[str, Any]:
    return {
        "netdev": netdev,
        "pci": pci,
        "port": "p0",
        "carrier": True,
        "speed": 200_000,
        "mtu": 9000,
        "addresses": [address],
        "rdma": rdma,
        "state": "4: ACTIVE",
        "gids": [
            {"index": 2, "gid": f"::ffff:{address.split('/')[0]}", "type": V1},
            {"index": 3, "gid": f"::ffff:{address.split('/')[0]}", "type": V2},
        ],
        **more,
    }


def facts(
    first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **more: Any
) -> Fabric:
    """Cage p0 as it should be, but for what ``first`` and ``second`` say of its functions."""
    pair = [
        function("enp1s0f0np0", "rocep1s0f0", "0000:01:00.0", ADDRESSES[0], **(first or {})),
        function("enP2p1s0f0np0", "roceP2p1s0f0", "0002:01:00.0", ADDRESSES[1], **(second or {})),
    ]
    found = {"functions": pair, "ours": ["enP7s7"], "reached": {"192.168.100.2": True}, **more}
    return Fabric.model_validate(found)


def cabled(files: Catalogue, replica: str | None = "pair", **more: Any) -> Settings:
    return load(files, replica=replica, fabric={"addresses": ADDRESSES, **more})


def wanted(files: Catalogue, **more: Any) -> fabric.Cabled:
    found = cabled(files, **more).fabric
    assert found is not None
    return found


def levels(settings: Settings, found: Fabric, **more: Any) -> dict[str, str]:
    now = snapshot().model_copy(update={"fabric": found, **more})
    return {f.name: f.level for f in preflight_fabric.fabric(settings, now) if f.level != "ready"}


def test_a_cage_is_both_functions_of_one_port_in_pci_order(files: Catalogue) -> None:
    other = function("enp1s0f1np1", "rocep1s0f1", "0000:01:00.1", "10.0.0.1/24", port="p1")
    found = facts().model_copy(
        update={"functions": [*Fabric(functions=[other]).functions, *facts().functions]}
    )
    pair = fabric.cage(wanted(files), found)
    assert [f.netdev for f in pair] == ["enp1s0f0np0", "enP2p1s0f0np0"]


def cages(**link: bool | None) -> Fabric:
    functions = [
        function(f"{name}{part}", "", f"000{part}:01:00.0", "", port=name, carrier=carrier)
        for name, carrier in link.items()
        for part in (0, 2)
    ]
    return Fabric.model_validate({"functions": [{**f, "addresses": []} for f in functions]})


def test_of_two_cages_it_is_the_one_with_a_link_or_the_one_named(files: Catalogue) -> None:
    assert fabric.cage(wanted(files), cages(p0=False, p1=True))[0].port == "p1"
    assert fabric.cage(wanted(files), cages(p0=None))[0].port == "p0"
    assert fabric.cage(wanted(files, cage="p1"), cages(p0=True, p1=True))[0].port == "p1"


@pytest.mark.parametrize(
    ("found", "cage", "told"),
    [
        (Fabric(), None, "no ConnectX-7 on PCI"),
        (cages(p0=True, p1=True), None, "set fabric.cage"),
        (cages(p0=None, p1=None), None, "set fabric.cage"),
        (cages(p0=True), "p1", "0 functions in cage p1; there is cage p0: p00, p02"),
        (Fabric(functions=cages(p0=True).functions[:1]), None, "1 functions in cage p0"),
    ],
)
def test_an_uncertain_cage_is_refused(
    files: Catalogue, found: Fabric, cage: str | None, told: str
) -> None:
    with pytest.raises(FabricError, match=told):
        fabric.cage(wanted(files, cage=cage), found)


def test_netplan_says_just_this(files: Catalogue) -> None:
    pair = fabric.cage(wanted(files), facts())
    netdevs = {f.netdev: own for f, own in zip(pair, ADDRESSES, strict=True)}
    [(path, text)] = host_files.netplan(netdevs, 9000).items()
    network = yaml.safe_load(text)["network"]
    assert path in host_files.owned() and "renderer" not in network
    assert network["ethernets"]["enP2p1s0f0np0"] == {
        "dhcp4": False,
        "dhcp6": False,
        "link-local": [],
        "mtu": 9000,
        "addresses": ["192.168.101.1/24"],
        "optional": True,
    }
    assert len(network["ethernets"]) == 2


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"gids": []}, "rocep1s0f0 3, roceP2p1s0f0 none"),
        ({"gids": [{"index": 3, "gid": "::ffff:192.168.101.1", "type": V1}]}, "none"),
        ({"gids": [{"index": 5, "gid": "::ffff:192.168.101.1", "type": V2}]}, "roceP2p1s0f0 5"),
        ({"gids": [{"index": 3, "gid": "::ffff:10.9.9.9", "type": V2}]}, "none"),
        ({"gids": [{"index": 3, "gid": "fe80::1", "type": V2}]}, "none"),
    ],
)
def test_functions_without_one_gid_index_are_refused(
    files: Catalogue, second: dict[str, Any], told: str
) -> None:
    with pytest.raises(FabricError, match=told):
        own = wanted(files)
        fabric.gid_index(own, fabric.cage(own, facts(second=second)))


def test_what_is_in_order_is_ready_and_who_has_no_fabric_is_not_asked(files: Catalogue) -> None:
    assert levels(cabled(files), facts()) == {}
    assert preflight_fabric.fabric(load(files), snapshot()) == []


@pytest.mark.parametrize(
    ("found", "name", "told"),
    [
        (facts({"speed": 100_000}), "fabric link", "enp1s0f0np0 100000 Mb/s"),
        (facts({"speed": None}), "fabric link", "at an unknown speed"),
        (facts(second={"carrier": False}), "fabric cable", "no link on"),
        (facts({"mtu": 1500}), "fabric mtu", "enp1s0f0np0 1500"),
        (facts({"gids": []}), "fabric gid", "none"),
        (facts(reached={"192.168.100.2": False}), "fabric peers", "no answer from 192.168.100.2"),
    ],
)
def test_each_fault_is_a_warning_with_its_remedy(
    files: Catalogue, found: Fabric, name: str, told: str
) -> None:
    now = snapshot().model_copy(update={"fabric": found})
    [fault] = [f for f in preflight_fabric.fabric(cabled(files), now) if f.level != "ready"]
    assert (fault.name, fault.level) == (name, "warn")
    assert told in fault.found and fault.remedy


def test_a_missing_card_stops_a_replica_but_no_single_host(files: Catalogue) -> None:
    assert levels(cabled(files), Fabric()) == {"fabric card": "blocked"}
    assert levels(cabled(files, replica=None), Fabric()) == {"fabric card": "warn"}
    unread = {"errors": {"fabric": "OSError: no such program"}}
    assert levels(cabled(files), Fabric(), **unread) == {"fabric card": "blocked"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"addresses": ["192.168.100.1/24", "192.168.100.2/24"]}, "half the speed"),
        ({"addresses": ["10.0.0.1/8", "10.1.0.1/24"]}, "two subnets"),
        ({"addresses": ["192.168.100.1", "192.168.101.1/24"]}, "a network of /30"),
        ({"addresses": ["192.168.100.0/24", "192.168.101.1/24"]}, "a host's address"),
        ({"addresses": ["192.168.100.300/24", "192.168.101.1/24"]}, "192.168.100.300"),
        ({"addresses": ["192.168.100.1/24"]}, "two addresses"),
        ({"addresses": ADDRESSES, "mtu": 900}, "1500 or more"),
        ({"addresses": ADDRESSES, "cage": "left"}, "cage: found 'left'"),
        ({"addresses": ADDRESSES, "renderer": "networkd"}, "unknown key"),
        ({"mtu": 9000}, "addresses: missing"),
    ],
)
def test_a_mistake_in_the_settings_is_told(
    files: Catalogue, value: dict[str, Any], told: str
) -> None:
    [line] = problems(files, fabric=value)
    assert line.startswith("group_data/all.py: fabric")
    assert told in line


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (None, "spark-02: fabric: missing"),
        ({"addresses": ADDRESSES}, "found 192.168.100.1, which spark-01 has"),
        ({"addresses": OTHERS[::-1]}, "allowed: those of spark-01"),
        ({"addresses": OTHERS, "mtu": 1500}, "mtu 1500, allowed: 9000, as spark-01"),
    ],
)
def test_hosts_of_a_replica_must_fit_together(
    files: Catalogue, other: dict[str, Any] | None, told: str
) -> None:
    hosts = {"spark-01": cabled(files), "spark-02": load(files, replica="pair", fabric=other)}
    [line] = fabric.mistakes(hosts)
    assert told in line


def test_a_fitting_pair_knows_its_peers(files: Catalogue) -> None:
    hosts = {
        "spark-01": cabled(files),
        "spark-02": load(files, replica="pair", fabric={"addresses": OTHERS}),
        "spark-03": load(files),
    }
    assert fabric.mistakes(hosts) == []
    assert fabric.peers("spark-01", hosts) == ("192.168.100.2", "192.168.101.2")
    assert fabric.peers("spark-03", hosts) == ()


MEASURED = """
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 65536      887600           0.00               {}               0.177520
---------------------------------------------------------------------------------------
"""


@pytest.mark.parametrize(
    ("said", "level", "told"),
    [
        (MEASURED.format("97.28"), "ready", "97.28 Gb/s with spark-01"),
        (MEASURED.format("24.10"), "warn", "24.10 Gb/s"),
        ("sh: 1: ib_write_bw: not found", "warn", "no measure with spark-01: sh: 1"),
        ("", "warn", "no output"),
    ],
)
def test_a_measured_bandwidth_is_judged(said: str, level: str, told: str) -> None:
    found = preflight_fabric.bandwidth("spark-01", 0, said)
    assert found.level == level and told in found.found


@pytest.mark.parametrize(
    ("data", "active", "level"),
    [
        ({"listen": "0.0.0.0"}, True, "warn"),
        ({"listen": "0.0.0.0"}, None, "warn"),
        ({"listen": "0.0.0.0"}, False, None),
        ({}, True, None),
        ({"fabric": {"addresses": ADDRESSES}}, True, "warn"),
    ],
)
def test_an_active_ufw_is_told_where_it_is_in_the_way(
    files: Catalogue, data: dict[str, Any], active: bool | None, level: str | None
) -> None:
    now = snapshot().model_copy(update={"ufw": active, "fabric": facts()})
    found = {f.name: f for f in preflight.findings(load(files, **data), now)}
    faulty = found.get("ufw")
    assert (faulty.level if faulty and faulty.level != "ready" else None) == level
    if level and "listen" in data:
        assert faulty and "ufw allow proto tcp to any port 8443" in faulty.remedy
