"""The real vLLM, its CPU build, as one model over two hosts: TP=2 by its multi-node backend."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.faulty import ALTERNATIVE, LENGTHS, Fleet
from tests.lab.test_replicas import (
    answers,
    deployed,
    lives,
    serving,
    switch,
    switch_whose_worker_is_killed,
    whole_again,
)

HOSTS = 2
pytestmark = pytest.mark.slow
BOUND_S = 420.0


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Fleet:
    """One replica of two hosts that serve with the real vLLM."""
    return deployed(lab, "vllm-cpu", bound_s=900)


def test_two_hosts_serve_die_switch_and_go_back_as_one(
    pair: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(pair)
    told = {host: serving(pair, host)["ready_s"] for host in pair.names}
    before = lives(pair)
    pair.sh("spark-02", "docker kill vllm")
    dead_s = whole_again(pair, before, BOUND_S)
    assert answers(pair)

    failed = switch_whose_worker_is_killed(pair)
    ran = switch(pair)
    assert ran.code == 0, ran.output[-8000:]
    assert LENGTHS[pair.probe("spark-01")["length"]] == ALTERNATIVE
    down = {host: record["downtime_s"] for host, record in ran.hosts.items()}
    with capsys.disabled():
        print(f"\nload: {told}; worker killed: serves again after {dead_s:.1f} s")
        print(f"failing switch, reverted: {failed.seconds:.1f} s")
        print(f"switch: {ran.seconds:.1f} s, no service {down}")
