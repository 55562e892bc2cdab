"""A server that contradicts what its release claims is not switched to; one that keeps it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.faulty import Fleet

HOSTS = 1
NGRAM = "SpeculativeConfig(method='ngram', model=None, num_spec_tokens=3)"
FP4 = "Weight-only FP4 compression will be used leveraging the Marlin kernel."
OTHER_KERNELS = [
    "Using TRITON_ATTN backend.",
    "Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend out of",
]
# What the mode does not claim by itself: asked for besides.
ARGUMENTS: dict[str, Any] = {
    "attention_backend": {"attention-backend": "FLASHINFER"},
    "kv_cache_dtype": {"kv-cache-dtype": "fp8"},
    "moe_backend": {"moe-backend": "marlin"},
}
SILENT = {"silent_kernels": True, "log_lines": OTHER_KERNELS}
LIES: dict[str, dict[str, Any]] = {
    "attention_backend": SILENT,
    "kv_cache_dtype": {"cache_config": {"cache_dtype": "auto"}},
    "listen": {"listen": "0.0.0.0"},
    "moe_backend": SILENT,
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


def test_an_honest_server_shows_every_claim(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = fleet.run("verify.py", vllm_mode=fleet.mode)
    assert ran.code == 0, ran.output[-6000:]
    with capsys.disabled():
        print("\n" + ran.output[-6000:])
    found = {proof["name"]: proof["verdict"] for proof in ran.hosts[fleet.names[0]]["proofs"]}
    assert set(found.values()) == {"shown"}, found
    assert {"image", "listen", "model", "answer: chat, streamed", "quantization"} <= set(found)


ANSWERS: dict[str, dict[str, Any]] = {
    "answer: chat": {"chat_500": True},
    "answer: completion": {"usage_by_chunks": True},
    "answer: completion, streamed": {"stream_cut": True},
}


@pytest.mark.parametrize("proof", sorted(ANSWERS))
def test_a_wrong_answer_fails_the_proof(fleet: Fleet, proof: str) -> None:
    host = fleet.names[0]
    fleet.knobs(host, everything=True, **ANSWERS[proof])
    ran = fleet.run("verify.py", vllm_mode=fleet.mode)
    fleet.clean(host)
    assert ran.code == 1, ran.output[-4000:]
    found = {each["name"]: each["verdict"] for each in ran.hosts[host]["proofs"]}
    assert found[proof] == "refuted", found


def test_a_speculating_server_of_which_nothing_is_accepted_is_refuted(fleet: Fleet) -> None:
    fleet.healthy()
    host = fleet.names[0]
    none = {"vllm:spec_decode_num_accepted_tokens_total": 0}
    fleet.knobs(host, everything=True, metrics=none)
    ran = fleet.run(vllm_mode="lab-speculative")
    fleet.clean(host)
    assert (ran.code, ran.hosts[host]["outcome"]) == (3, "reverted"), ran.output[-4000:]
    assert (
        "gate: 1 refuted: speculation_accepts: claimed yes, found no" in ran.hosts[host]["reason"]
    )


@pytest.mark.parametrize("claim", sorted(LIES))
def test_a_refuted_claim_fails_the_gate_and_the_host_goes_back(fleet: Fleet, claim: str) -> None:
    fleet.healthy()
    host, lies = fleet.names[0], LIES[claim]
    fleet.knobs(host, **lies)
    arguments = json.dumps(ARGUMENTS.get(claim, {}))
    ran = fleet.run(vllm_mode=fleet.other, vllm_args=arguments)
    told = ran.hosts[host]
    assert (ran.code, told["outcome"]) == (3, "reverted"), ran.output[-4000:]
    assert f"gate: 1 refuted: {claim}: claimed " in told["reason"]
    fleet.clean(host)
    assert fleet.serves() == {host: fleet.mode}
