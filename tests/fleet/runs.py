"""Benchmark results as benchmark.py writes them, made by hand: no figure in them was measured."""

from __future__ import annotations

from typing import Any

RELEASES = {"standard": "a" * 12, "ultimate": "b" * 12}


def run(host: str = "spark-01", mode: str = "standard", speed: float = 40.0, **more: Any) -> Any:
    """One result as JSON has it; ``speed``: tokens/s of one request."""
    key = {
        "mode": mode, "model": "org/model", "revision": "0" * 40, "image": "img@sha256:" + "0" * 64,
        "release": RELEASES[mode], "driver": "580.159.03", "kernel": "6.17.0-1032-nvidia",
    }  # fmt: skip
    samples = [speed * 3.5, speed * 3.6, speed * 3.4]
    found = [point(c, repeat, speed) for c in (1, 2, 4, 8) for repeat in (0, 1)]
    return {
        "host": host, "key": key, "points": found, "problems": [], "finished": 1.8e9,
        "gate": {"streams": 4, "tokens": 64, "repeats": 3, "samples": samples}, **more,
    }  # fmt: skip


def point(concurrency: int, repeat: int, speed: float) -> dict[str, Any]:
    """A point whose repeats differ by 2 percent."""
    rate = speed * concurrency**0.9 * (1 + 0.02 * repeat)
    wait = 1000 / speed
    result = {
        "output_throughput": rate, "total_output_tokens": 1024, "completed": 8, "failed": 0,
        "median_ttft_ms": 90.0 * concurrency, "p99_ttft_ms": 140.0 * concurrency,
        "median_itl_ms": wait, "p99_itl_ms": 1.4 * wait, "median_e2el_ms": 128 * wait,
    }  # fmt: skip
    keys = {"input": 512, "output": 128, "concurrency": concurrency, "repeat": repeat}
    return {**keys, "seed": 1, "others_tokens": 0, "result": result}
