"""Over what NCCL says it talks, from the server's own log (NCCL_DEBUG=INFO)."""

from __future__ import annotations

import re
from collections.abc import Collection

RDMA = "IB"
# One line a choice: of the plugin, of the network, of each channel. "NET/Socket : Using" alone
# only lists interfaces.
_CHOICE = re.compile(
    r"NCCL INFO .*?(?:\bvia NET/|Using network |Assigned NET plugin )(?P<name>[A-Za-z]\w*)"
)


def network(line: str) -> str | None:
    """The network that a log line says is used, IB or Socket; None if it says nothing of it."""
    found = _CHOICE.search(line)
    return found["name"] if found else None


def problem(networks: Collection[str]) -> str:
    """Why this is no proof of RDMA; "" if it is one."""
    others = sorted(set(networks) - {RDMA})
    if not networks:
        return "NCCL told no network in the log, wanted NET/IB; see NCCL_DEBUG in vllm_env"
    if others:
        return (
            f"NCCL talks over NET/{', NET/'.join(others)}, wanted NET/IB; on every host of the "
            "replica look at the preflight's fabric lines, /dev/infiniband and NCCL_IB_HCA"
        )
    return ""
