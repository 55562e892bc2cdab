"""What is claimed of a server is what vLLM says of it, in vLLM's own words."""

from __future__ import annotations

import pytest

from fleet.mode_claims import mode_claims
from tests.fleet.test_fit import config


@pytest.mark.parametrize(
    ("method", "said"),
    [("qwen3_next_mtp", "mtp"), ("deepseek_mtp", "mtp"), ("mtp", "mtp"), ("eagle3", "eagle3")],
)
def test_speculation_is_claimed_under_the_name_that_vllm_logs(method: str, said: str) -> None:
    config = {"method": method, "num_speculative_tokens": 2}
    assert mode_claims({"speculative-config": config}, None)["speculation"] == [f"{said}:2"]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("auto-round", "inc"),
        ("compressed_tensors", "compressed-tensors"),
        ("compressed-tensors", "compressed-tensors"),
        ("bitsandbytes", "bitsandbytes"),
    ],
)
def test_a_checkpoints_format_is_claimed_under_the_name_that_vllm_logs(
    method: str, said: str
) -> None:
    facts = config(quantization_config={"quant_method": method})
    assert mode_claims({}, facts)["quantization"] == [said]
