"""What vLLM's offline benchmarks are asked, with the arguments of a release."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import layout
import offline
import pytest
from offline import benches
from offline_client import arguments

from tests.files.activated_host import A, activated_host

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


BENCHMARK = """
import signal, sys
from pathlib import Path
import layout
layout.RELEASES = Path(sys.argv[1])
import offline, release
offline.PROGRAM = Path(offline.__file__).with_name("offline_client.py")
signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmark: told to stop"))
offline.run(release.read("a" * 12), "latency", [], Path(sys.argv[2]))
"""
DOCKER = """#!/bin/sh
echo "$1" >> {folder}/asked
[ "$1" = rm ] || exec sleep 30
"""


def test_a_benchmark_that_is_told_to_stop_leaves_no_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server comes back then, and there is no room for both."""
    host = activated_host(tmp_path, monkeypatch)
    program = host.folder / "bin/docker"
    program.write_text(DOCKER.format(folder=host.folder))
    program.chmod(0o755)
    (layout.RELEASES / A / "vllm.yaml").write_text(CONFIG)
    monkeypatch.setenv("PYTHONPATH", str(Path(offline.__file__).parent))
    words = [sys.executable, "-c", BENCHMARK, str(layout.RELEASES), str(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as benchmark:
        deadline = time.monotonic() + 20
        while host.asked() != ["rm", "compose"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        benchmark.terminate()
        assert benchmark.wait(10) == 1
    assert host.asked() == ["rm", "compose", "rm"]
