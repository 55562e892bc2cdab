"""A server that contradicts what its release claims is not switched to; one that keeps it is."""

from __future__ import annotations

from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.faulty import Fleet

HOSTS = 1
NGRAM = "SpeculativeConfig(method='ngram', model=None, num_spec_tokens=3)"
FP4 = "Weight-only FP4 compression will be used leveraging the Marlin kernel."
LIES: dict[str, dict[str, Any]] = {
    "cudagraph_mode": {"log_lines": ["no support; setting cudagraph_mode=PIECEWISE"]},
    "dtype": {"engine_config": {"dtype": "torch.bfloat16"}},
    "enforce_eager": {"engine_config": {"enforce_eager": "False"}},
    "kernel_fallback": {"log_lines": [FP4]},
    "kv_cache_memory_bytes": {"cache_config": {"kv_cache_memory_bytes": "1024"}},
    "max_model_len": {"max_model_len": 256},
    "model": {"model_root": "/models/hub/other"},
    "prefix_caching": {"cache_config": {"enable_prefix_caching": "True"}},
    "quantization": {"engine_config": {"quantization": "mxfp4"}},
    "speculation": {"engine_config": {"speculative_config": NGRAM}},
    "trust_remote_code": {"engine_config": {"trust_remote_code": "True"}},
}


@pytest.fixture(scope="module")
def fleet(deployed: Lab) -> Fleet:
    return Fleet(deployed)


@pytest.mark.parametrize("claim", sorted(LIES))
def test_a_refuted_claim_fails_the_gate_and_the_host_goes_back(fleet: Fleet, claim: str) -> None:
    fleet.healthy()
    host, lies = fleet.names[0], LIES[claim]
    fleet.knobs(host, **lies)
    ran = fleet.run(vllm_mode=fleet.other)
    told = ran.hosts[host]
    assert (ran.code, told["outcome"]) == (3, "reverted"), ran.output[-4000:]
    assert f"gate: 1 refuted: {claim}: claimed " in told["reason"]
    fleet.clean(host)
    assert fleet.serves() == {host: fleet.mode}
