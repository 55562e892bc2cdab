"""What NCCL's log proves. Lines as NCCL 2.2x prints them; constructed, no RDMA was at hand."""

from __future__ import annotations

import nccl
import pytest

HEAD = "(Worker_TP1 pid=312) spark-02:312:312 [0] NCCL INFO "


@pytest.mark.parametrize(
    ("line", "network"),
    [
        ("Using network IB", "IB"),
        ("Using network Socket", "Socket"),
        ("Assigned NET plugin IB to comm", "IB"),
        ("Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0", "IB"),
        ("Channel 01/0 : 1[0] -> 0[0] [receive] via NET/IB/1/GDRDMA", "IB"),
        ("Channel 00/0 : 0[0] -> 1[0] [send] via NET/Socket/0", "Socket"),
        ("NET/IB : Using [0]rocep1s0f1:1/RoCE [1]roceP2p1s0f1:1/RoCE [RO]; OOB enp1s0f1np1", None),
        ("NET/Socket : Using [0]enp1s0f1np1:192.168.100.1<0>", None),
        ("NET/IB : No device found.", None),
        ("Bootstrap: Using enp1s0f1np1:192.168.100.1<0>", None),
    ],
)
def test_only_a_choice_of_the_network_counts(line: str, network: str | None) -> None:
    assert nccl.network(HEAD + line) == network


def test_a_line_of_another_program_proves_nothing() -> None:
    assert nccl.network("Using network IB") is None


def test_socket_beside_rdma_and_silence_are_no_proof() -> None:
    assert nccl.problem({"IB"}) == ""
    assert "NET/Socket, wanted NET/IB" in nccl.problem({"IB", "Socket"})
    assert "told no network" in nccl.problem(set())
