"""What vLLM's offline benchmarks are asked, with the arguments of a release."""

from __future__ import annotations

from offline import benches
from offline_client import arguments

CONFIG = """\
# Written by vllm-fleet, mode lab: a change here is lost. vLLM reads it with --config.
"dtype": "float32"
"enable-prefix-caching": true
"host": "127.0.0.1"
"max-num-seqs": 8
"no-async-scheduling": true
"served-model-name": ["lab/tiny", "other"]
"speculative-config": {"method": "ngram", "num_speculative_tokens": 4}
"""
KNOWN = (
    *("--dtype", "--enable-prefix-caching", "--max-num-seqs", "--no-async-scheduling"),
    *("--served-model-name", "--speculative-config"),
)


def test_what_the_benchmark_knows_is_given_and_the_rest_left_out() -> None:
    assert arguments(CONFIG, KNOWN) == [
        *("--dtype", "float32", "--enable-prefix-caching", "--max-num-seqs", "8"),
        *("--no-async-scheduling", "--served-model-name", "lab/tiny", "other"),
        *("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}'),
    ]
    assert arguments(CONFIG, ()) == []


def test_the_engine_gets_as_many_prompts_as_the_fullest_point_and_then_one_at_a_time() -> None:
    asked = benches({"prompts": 8, "concurrency": [1, 4], "repeats": 2}, 64, 32)
    assert asked["throughput"] == [
        *("--dataset-name", "random", "--random-input-len", "64", "--random-output-len", "32"),
        *("--num-prompts", "16"),
    ]
    assert asked["latency"] == [
        *("--input-len", "64", "--output-len", "32", "--batch-size", "1"),
        *("--num-iters-warmup", "1", "--num-iters", "3"),
    ]
