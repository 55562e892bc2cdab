"""How a host of a replica finds its rank, and what vLLM is told there."""

from __future__ import annotations

from typing import Any

import cluster
import pytest
from cluster import Rank, Replica
from errors import HostError

ADDRESSES = {
    "eth0": ["192.0.2.11/24"],
    "enp1s0f0np0": ["192.168.100.1/24"],
    "enP2p1s0f0np0": ["192.168.101.1/24"],
}
FABRIC = ("192.168.100.1", "192.168.101.1")


def gid(index: int, address: str, kind: str = "RoCE v2") -> dict[str, Any]:
    a, b, c, d = (int(part) for part in address.split("."))
    gid = f"0000:0000:0000:0000:0000:ffff:{a:02x}{b:02x}:{c:02x}{d:02x}"
    return {"index": index, "gid": gid, "type": kind}


def functions(second: int | None = 3) -> list[dict[str, Any]]:
    old = gid(2, FABRIC[0], "IB/RoCE v1")
    gids = [] if second is None else [gid(second, FABRIC[1])]
    return [
        {"netdev": "enp1s0f0np0", "rdma": "rocep1s0f0", "gids": [old, gid(3, FABRIC[0])]},
        {"netdev": "enP2p1s0f0np0", "rdma": "roceP2p1s0f0", "gids": gids},
    ]


def test_the_environment_is_this_hosts_own() -> None:
    rank = Rank(0, "spark-01", FABRIC[0], FABRIC)
    assert cluster.environment(rank, ADDRESSES, functions()) == {
        "GLOO_SOCKET_IFNAME": "enp1s0f0np0",
        "NCCL_IB_GID_INDEX": "3",
        "NCCL_IB_HCA": "=rocep1s0f0,roceP2p1s0f0",
        "NCCL_SOCKET_IFNAME": "=enp1s0f0np0,enP2p1s0f0np0",
        "TP_SOCKET_IFNAME": "enp1s0f0np0",
        "UCX_NET_DEVICES": "rocep1s0f0:1,roceP2p1s0f0:1",
        "VLLM_HOST_IP": "192.168.100.1",
    }


def test_without_a_fabric_only_the_device_of_the_address_is_named() -> None:
    told = cluster.environment(Rank(1, "spark-02", "192.0.2.11", ()), ADDRESSES, [])
    assert told["NCCL_SOCKET_IFNAME"] == "=eth0" and "NCCL_IB_HCA" not in told


@pytest.mark.parametrize(
    ("second", "told"), [(5, "roceP2p1s0f0, GID 5"), (None, "roceP2p1s0f0, GID none")]
)
def test_functions_without_one_gid_index_are_refused(second: int | None, told: str) -> None:
    with pytest.raises(HostError, match=told):
        cluster.environment(Rank(0, "a", FABRIC[0], FABRIC), ADDRESSES, functions(second))


def test_no_rdma_device_and_no_address_are_refused() -> None:
    rank = Rank(0, "a", FABRIC[0], FABRIC)
    with pytest.raises(HostError, match="no RDMA device"):
        cluster.environment(rank, ADDRESSES, [])
    with pytest.raises(HostError, match=r"no network device has 192\.168\.100\.1"):
        cluster.environment(rank, {}, functions())


def test_each_rank_has_its_own_words() -> None:
    ranks = (Rank(0, "a", "127.0.0.1", ()), Rank(1, "b", "192.0.2.254", ()))
    mp = Replica("pair", "mp", 29501, True, ranks)
    assert cluster.own(mp) == ranks[0]
    assert cluster.words(mp, ranks[0])["command"] == [
        "--config",
        cluster.CONFIG,
        "--node-rank",
        "0",
    ]
    assert cluster.words(mp, ranks[1])["command"][-2:] == ["1", "--headless"]  # type: ignore[index]
    ray = Replica("pair", "ray", 6379, True, ranks)
    [head], [worker] = (cluster.words(ray, rank)["command"] for rank in ranks)  # type: ignore[misc]
    assert "ray start --head --port=6379 --node-ip-address=127.0.0.1 --num-gpus=1" in head
    assert head.endswith(f"exec vllm serve --config {cluster.CONFIG}")
    assert "--address=127.0.0.1:6379" in worker and "--block" in worker and "vllm" not in worker
