"""The arguments of a release as words for vLLM's offline benchmarks."""

from __future__ import annotations

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
