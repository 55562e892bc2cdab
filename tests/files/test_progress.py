"""What the log of a starting vLLM tells, and when patience ends."""

from __future__ import annotations

import pytest
from progress import out_of_patience, stage


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Loading safetensors checkpoint shards:  42% Completed | 5/12 [0", "loading weights 42 %"),
        ("INFO 11-23 [gpu_model_runner.py:1] Starting to load model /m...", "loading weights"),
        ("INFO [default_loader.py:1] Loading weights took 142.03 seconds", "weights loaded"),
        ("INFO [backends.py:1] torch.compile took 39.20 s in total", "compiling"),
        ("INFO [kernel_warmup.py:1] Autotuning flashinfer kernels", "tuning kernels"),
        ("Capturing CUDA graphs (decode, FULL):  50%|#####     | 3/6", "capturing graphs 50 %"),
        ("INFO [core.py:1] init engine (profile, create kv cache, warmup model) took 3 s",
         "engine up"),
        ("INFO:     Application startup complete.", "HTTP up"),
        ("INFO: 127.0.0.1 - GET /health", None),
    ],
)  # fmt: skip
def test_a_log_line_tells_the_stage(line: str, told: str | None) -> None:
    assert stage(line) == told


@pytest.mark.parametrize(
    ("elapsed", "silent", "cores", "ends"),
    [
        (99, 99, 0.0, False),  # within its time silence is no death
        (101, 26, 0.0, True),
        (101, 24, 0.0, False),  # it still logs
        (101, 900, 1.5, False),  # silent, but it compiles
        (201, 1, 4.0, True),  # twice its time is the bound
    ],
)
def test_patience_ends(elapsed: float, silent: float, cores: float, ends: bool) -> None:
    assert bool(out_of_patience(elapsed, 100, silent, cores)) is ends


def test_the_reason_says_what_was_seen() -> None:
    assert out_of_patience(101, 100, 70, 0.04) == (
        "not ready after 101 s (ready_timeout_s 100); silent for 70 s, 0.0 cores"
    )
