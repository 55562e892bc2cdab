"""Two replicas of the real vLLM, its CPU build, behind one endpoint: switched under load."""

from __future__ import annotations

import time

import pytest

from lab.testing import Lab
from tests.lab.test_gateway import Gateway, failures

HOSTS = 3  # two replicas, the last one is the gateway
pytestmark = pytest.mark.slow
# Two cores bear all three hosts and the model that loads meanwhile.
RATE, SLOW_TOKENS = 0.5, 200


def test_a_switch_of_both_under_load_loses_no_request(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gateway = Gateway(lab, tmp_path_factory.mktemp("gateway"), "vllm-cpu")
    gateway.run("deploy.py", vllm_mode="lab-standard")
    with gateway.load("real", rate=RATE, tokens=SLOW_TOKENS) as out:
        begin = time.time()
        gateway.run("deploy.py", vllm_mode="lab-alternative")
        end = time.time()
    found = gateway.told("real", out, begin, end)
    assert {record.replica for record in found} == set(gateway.replicas)
    assert not failures(found), failures(found)[:5]
