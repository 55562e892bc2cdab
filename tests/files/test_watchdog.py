"""Wedged is killed, busy is not. The judge alone on a made-up clock, then against a server."""

from __future__ import annotations

import time
from pathlib import Path

import metrics
import pytest
from completion import Result
from metrics import Metrics
from watchdog import Judge, Probe, self_test

from tests.files.standin_process import Standin, free_port, standin

GOOD = Result(True, "", "", "m")
SILENT = Result(False, "timeout", "no answer in 4 s", "m")


def figures(tokens: float, running: int = 0, waiting: int = 0) -> Metrics:
    return Metrics(running, waiting, (("vllm:generation_tokens_total", tokens),))


def test_requests_without_progress_are_a_wedge_after_the_stall_time() -> None:
    judge = Judge(60, 0)
    judge.measured(1, figures(10, running=3))
    assert judge.verdict(61) is None
    assert judge.verdict(62) == "wedged: 3 running, 0 waiting, no progress for 61 s (allowed 60)"


def test_tokens_keep_a_full_queue_alive() -> None:
    judge = Judge(60, 0)
    for second in range(0, 3600, 50):
        judge.measured(second, figures(second, running=256, waiting=900))
        assert judge.verdict(second) is None


def test_a_long_prefill_that_only_fills_kv_is_progress() -> None:
    judge = Judge(60, 0)
    for second in range(0, 600, 30):
        moving = (("vllm:generation_tokens_total", 5.0), ("vllm:kv_cache_usage_perc", second / 1e3))
        judge.measured(second, Metrics(1, 0, moving))
        assert judge.verdict(second) is None


def test_an_idle_server_is_left_alone() -> None:
    judge = Judge(60, 0)
    judge.measured(0, figures(10))
    assert judge.verdict(100_000) is None


def test_an_idle_server_that_answers_no_probe_is_a_wedge() -> None:
    judge = Judge(60, 0)
    judge.measured(0, figures(10))
    assert judge.wants_probe(15)
    judge.probing()
    judge.probed(35, SILENT)
    assert judge.verdict(61) == (
        "wedged: 0 running, 0 waiting, no progress for 61 s (allowed 60); probe: no answer in 4 s"
    )


def test_missing_metrics_alone_never_kill() -> None:
    judge = Judge(60, 0)
    for second in range(0, 3600, 30):
        judge.measured(second, None)
        judge.probing()
        judge.probed(second, GOOD)
        assert judge.verdict(second + 29) is None


def test_an_answered_probe_outweighs_frozen_figures() -> None:
    judge = Judge(60, 0)
    judge.measured(0, figures(10, running=2))
    judge.probing()
    judge.probed(59, GOOD)
    assert judge.verdict(100) is None


def test_a_probe_that_says_nothing_about_the_engine_is_no_evidence() -> None:
    judge = Judge(60, 0)
    judge.measured(0, figures(10))
    judge.probing()
    judge.probed(20, Result(False, "unauthorized", "HTTP 401", "m"))
    assert judge.verdict(1000) is None


def test_a_client_that_gives_up_is_no_progress() -> None:
    text = (
        'vllm:num_requests_running{engine="0"} 1.0\n'
        'vllm:request_success_total{finished_reason="stop"} 4.0\n'
        'vllm:request_success_total{finished_reason="abort"} %d\n'
    )
    first, second = metrics.parse(text % 1), metrics.parse(text % 2)
    assert first is not None
    assert first == second
    assert dict(first.progress) == {"vllm:request_success_total": 4.0}


def test_engines_are_summed_and_nonsense_is_nothing() -> None:
    text = 'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_running{engine="1"} 2.0\n'
    found = metrics.parse(text + 'vllm:kv_cache_usage_perc{engine="0"} NaN\n# HELP x\n')
    assert found == Metrics(3, 0, (("vllm:kv_cache_usage_perc", 0.0),))
    assert metrics.parse("process_cpu_seconds_total 1.0\n") is None
    assert metrics.fetch("127.0.0.1", free_port()) is None


def judged(server: Standin, stall_s: float, watch_s: float) -> str | None:
    """What a watchdog would say within ``watch_s`` seconds."""
    judge = Judge(stall_s, time.monotonic())
    probe: Probe | None = None
    deadline = time.monotonic() + watch_s
    while time.monotonic() < deadline:
        judge.measured(time.monotonic(), metrics.fetch("127.0.0.1", server.port))
        if probe and (result := probe.result()):
            judge.probed(time.monotonic(), result)
            probe = None
        if probe is None and judge.wants_probe(time.monotonic()):
            judge.probing()
            probe = Probe(server.target(judge.probe_timeout_s, max_tokens=1))
        if verdict := judge.verdict(time.monotonic()):
            return verdict
        time.sleep(0.1)
    return None


def test_a_wedged_idle_server_is_found_by_its_probe(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        server.knobs(wedge=True)
        assert "wedged" in str(judged(server, 3, 8))


def test_a_server_wedged_under_load_is_found(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        server.knobs(itl_s=0.2)
        server.load(2, tokens=500)
        server.knobs(wedge=True)
        assert "wedged: 2 running" in str(judged(server, 3, 8))


@pytest.mark.slow
def test_a_long_prefill_and_a_full_queue_are_busy_not_wedged(tmp_path: Path) -> None:
    with standin(tmp_path, "--max-num-seqs", "2") as server:
        server.knobs(ttft_s=20.0)
        server.load(6, tokens=4)
        assert judged(server, 3, 8) is None
        assert server.requests() >= 6


@pytest.mark.slow
def test_a_healthy_idle_server_is_left_alone(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        assert judged(server, 2, 6) is None


@pytest.mark.slow
def test_a_server_without_metrics_lives_by_its_probes(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        server.knobs(metrics_status=404)
        assert judged(server, 2, 6) is None


def test_the_self_test_says_what_cannot_be_seen_or_done() -> None:
    problems = self_test("127.0.0.1", free_port(), "no-such-container", under_systemd=False)
    assert "shows no vLLM figures" in problems[0]
    assert any(line.startswith("cannot act: ") for line in problems[1:])
