"""What a host told of its ConnectX-7 network: one entry for each PCI function."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, ConfigDict

# Frozen, but open: a host program that tells more than we ask for is no mistake.
LENIENT = ConfigDict(extra="ignore", frozen=True)


class Told(BaseModel):
    model_config = LENIENT


class Gid(Told):
    """One entry of an RDMA port's table: an address under which RoCE speaks."""

    index: int
    gid: str
    type: str

    @property
    def ipv4(self) -> str | None:
        mapped = ipaddress.IPv6Address(self.gid).ipv4_mapped
        return str(mapped) if mapped else None


class Function(Told):
    """One PCI function: a netdev and, where its driver is loaded, an RDMA device.

    ``speed`` in Mb/s, ``mtu`` in bytes, ``rate`` and ``state`` in the kernel's words.
    """

    netdev: str
    pci: str
    port: str | None = None
    carrier: bool | None = None
    speed: int | None = None
    mtu: int | None = None
    addresses: list[str] = []
    rdma: str | None = None
    state: str | None = None
    rate: str | None = None
    gids: list[Gid] = []

    def gid_index(self, address: str) -> int | None:
        """Where RoCE v2 has ``address`` (IPv4): usually 3, but 5 was seen."""
        found = [g.index for g in self.gids if g.type == "RoCE v2" and g.ipv4 == address]
        return min(found, default=None)


class Fabric(Told):
    """``ours`` are the netdevs that carry the SSH connection of this run, None when not known;
    ``reached`` says of each address asked for whether full frames got there and back, None where
    there is no ping."""

    functions: list[Function] = []
    ours: list[str] | None = None
    reached: dict[str, bool | None] = {}
