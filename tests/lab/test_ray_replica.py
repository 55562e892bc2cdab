"""One model over two hosts with Ray: vLLM's CPU build, Ray's head and worker in our units."""

from __future__ import annotations

import pytest

from lab.content.images import ray
from lab.testing import Lab
from tests.lab.faulty import ALTERNATIVE, LENGTHS, Fleet
from tests.lab.test_replicas import (
    PAIR,
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
WITH_RAY = {**PAIR, "cluster_backend": "ray"}
BOUND_S = 420.0


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Fleet:
    """One replica of two hosts that serve with Ray."""
    lab.state.images["vllm-ray"] = ray.offer(lab.state)
    return deployed(lab, "vllm-ray", bound_s=900, data=WITH_RAY)


def test_two_hosts_serve_with_ray_die_and_switch_as_one(
    pair: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(pair)
    status = pair.sh("spark-01", "docker exec vllm ray status")
    assert "2.0/2.0 GPU" in status, status
    told = {host: serving(pair, host)["ready_s"] for host in pair.names}
    before = lives(pair)
    pair.sh("spark-02", "docker kill vllm")
    dead_s = whole_again(pair, before, BOUND_S)
    assert answers(pair)
    failed = switch_whose_worker_is_killed(pair, WITH_RAY)
    ran = switch(pair, data=WITH_RAY)
    assert ran.code == 0, ran.output[-8000:]
    assert LENGTHS[pair.probe("spark-01")["length"]] == ALTERNATIVE
    down = {host: record["downtime_s"] for host, record in ran.hosts.items()}
    with capsys.disabled():
        print(f"\nload: {told}; worker killed: serves again after {dead_s:.1f} s")
        print(f"failing switch, reverted: {failed.seconds:.1f} s")
        print(f"switch: {ran.seconds:.1f} s, no service {down}")
