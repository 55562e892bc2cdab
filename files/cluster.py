"""A replica over several hosts: who its ranks are, which is this host, and how vLLM is told."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command
import durable
import facts_fabric
import layout
from errors import HostError
from release import Release

CONFIG = "/etc/vllm-fleet-release/vllm.yaml"  # in the container, see fleet/render.py
STORE_BYTES = 2**30
_V4_AS_V6 = "0000:0000:0000:0000:0000:ffff:"


@dataclass(frozen=True)
class Rank:
    """One host of the replica. ``number`` 0 is the head."""

    number: int
    host: str
    address: str
    fabric: tuple[str, ...]


@dataclass(frozen=True)
class Replica:
    """The hosts that serve one model together; ``port`` is where vLLM's ranks meet."""

    name: str
    backend: str
    port: int
    proof: bool
    ranks: tuple[Rank, ...]

    @property
    def beat_port(self) -> int:
        """Where each rank tells the others that it lives."""
        return self.port + 1


def of(release: Release) -> Replica | None:
    """The replica that ``release`` is for; None where the host serves alone."""
    told = release.replica
    if told is None:
        return None
    ranks = tuple(
        Rank(number, str(one["host"]), str(one["address"]), tuple(one["fabric"]))
        for number, one in enumerate(told["ranks"])
    )
    return Replica(told["name"], told["backend"], int(told["port"]), bool(told["proof"]), ranks)


def own(replica: Replica) -> Rank | None:
    """The rank whose address this host has now; None while it has none of them."""
    for rank in replica.ranks:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((rank.address, 0))
            except OSError:
                continue
            return rank
    return None


def is_worker(release: Release) -> bool:
    """Whether another host has the API of what this host serves."""
    replica = of(release)
    rank = own(replica) if replica else None
    return rank is not None and rank.number > 0


def write_override(replica: Replica, rank: Rank) -> Path:
    """What Compose is told besides the release: this rank's own words and environment."""
    addresses = facts_fabric.by_netdev(command.run(["ip", "-j", "address", "show"]))
    functions = facts_fabric.functions(Path("/sys/class"), addresses)
    own_part = {
        "environment": environment(rank, addresses, functions),
        **words(replica, rank),
    }
    durable.write_json(layout.RANK, {"services": {"vllm": own_part}}, flush=False)
    return layout.RANK


def words(replica: Replica, rank: Rank) -> dict[str, object]:
    """The command of this rank's container, and its entry point where it is not the image's."""
    if replica.backend == "ray":
        return {"entrypoint": ["sh", "-c"], "command": [_ray(replica, rank)]}
    mine = ["--config", CONFIG, "--node-rank", str(rank.number)]
    return {"command": [*mine, "--headless"] if rank.number else mine}


def _ray(replica: Replica, rank: Rank) -> str:
    """Ray's node in the same container: head and server, or a worker that waits for the head."""
    head = f"{replica.ranks[0].address}:{replica.port}"
    # vLLM's data take their own way, so Ray's store may be small: memory is the GPU's as well.
    each = f"--node-ip-address={rank.address} --num-gpus=1 --object-store-memory={STORE_BYTES}"
    if rank.number:
        return (
            f"until ray health-check --address {head}; do sleep 1; done; "
            f"exec ray start --address={head} {each} --block"
        )
    return (
        f"ray start --head --port={replica.port} {each} --include-dashboard=false "
        f"&& exec vllm serve --config {CONFIG}"
    )


def environment(
    rank: Rank, addresses: Mapping[str, Sequence[str]], functions: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """What NCCL, Gloo and vLLM need to be told on this host, by what its kernel says now.

    ``addresses``: netdev → addresses with prefix. Raises HostError where a part is missing.
    """
    netdev = _netdev(rank.address, addresses)
    told = {"GLOO_SOCKET_IFNAME": netdev, "TP_SOCKET_IFNAME": netdev}
    return {**told, "VLLM_HOST_IP": rank.address, **_nccl(rank, netdev, addresses, functions)}


def _nccl(
    rank: Rank,
    netdev: str,
    addresses: Mapping[str, Sequence[str]],
    functions: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """ "=" before names: else NCCL takes each for a prefix."""
    if not rank.fabric:
        return {"NCCL_SOCKET_IFNAME": f"={netdev}"}
    netdevs = [_netdev(address, addresses) for address in rank.fabric]
    by_name = {str(function["netdev"]): function for function in functions}
    devices = [str(by_name.get(name, {}).get("rdma") or "") for name in netdevs]
    indexes = [
        gid_index(by_name.get(name, {}).get("gids") or (), address)
        for name, address in zip(netdevs, rank.fabric, strict=True)
    ]
    if "" in devices or None in indexes or len(set(indexes)) > 1:
        told = ", ".join(
            f"{name} {device or 'no RDMA device'}, GID {'none' if index is None else index}"
            for name, device, index in zip(netdevs, devices, indexes, strict=True)
        )
        raise HostError(
            f"fabric: found {told}; wanted an RDMA device each and one RoCE v2 GID index: load "
            "mlx5_ib, reboot where the indexes differ, or run deploy.py"
        )
    return {
        "NCCL_IB_GID_INDEX": str(indexes[0]),
        "NCCL_IB_HCA": "=" + ",".join(devices),
        "NCCL_SOCKET_IFNAME": "=" + ",".join(netdevs),
        "UCX_NET_DEVICES": ",".join(f"{device}:1" for device in devices),
    }


def _netdev(address: str, addresses: Mapping[str, Sequence[str]]) -> str:
    for name, own_ones in addresses.items():
        if address in (one.split("/")[0] for one in own_ones):
            return name
    raise HostError(f"no network device has {address}; run deploy.py, or look at ip address show")


def gid_index(gids: Sequence[Mapping[str, Any]], address: str) -> int | None:
    """Where RoCE v2 has ``address`` (IPv4) in a port's table: usually 3, but 5 was seen."""
    parts = [int(part) for part in address.split(".")]
    gid = f"{_V4_AS_V6}{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}"
    found = [int(g["index"]) for g in gids if g["type"] == "RoCE v2" and g["gid"] == gid]
    return min(found, default=None)
