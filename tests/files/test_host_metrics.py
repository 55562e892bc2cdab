"""Our own figures: what is not known is left out, and what goes wrong is told."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import host_metrics
import layout
import pytest

from fleet import authority

CONFIG = {"serves": True, "memory_floor_bytes": 1, "cache_reserve_bytes": 2, "period_s": 1}
STAND_IN = """#!/bin/sh
# Stand-in for nvidia-smi, which this machine has not got.
echo 'NVIDIA GB10, 580.159.03, P0, 2400 MHz, 3003 MHz, 61, {power}, 96 %'
"""
LINE = re.compile(r'vllm_fleet_\w+(\{(\w+="([^"\\]|\\.)*",?)*\})? -?[0-9.e+-]+')


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, power: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(STAND_IN.format(power=power))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")


def found(read: host_metrics.Reader) -> dict[str, float]:
    return {name: value for name, _, value in read(CONFIG)}


def test_a_figure_that_the_gpu_has_not_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, "45.12 W")
    whole = found(host_metrics.of_gpu)
    assert whole == {
        "gpu_answers": 1, "gpu_clock_hertz": 2.4e9, "gpu_clock_max_hertz": 3.003e9,
        "gpu_temperature_celsius": 61, "gpu_power_watts": 45.12, "gpu_busy_ratio": 0.96,
    }  # fmt: skip
    smi(tmp_path, monkeypatch, "[N/A]")
    assert found(host_metrics.of_gpu) == {
        name: value for name, value in whole.items() if name != "gpu_power_watts"
    }


def test_a_gpu_that_gives_no_answer_is_told_by_one_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found(host_metrics.of_gpu) == {"gpu_answers": 0}


def test_the_end_of_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "HAPROXY", tmp_path)
    (tmp_path / "metrics").mkdir()
    made = authority.issue(authority.create(), ["spark-01"])
    (tmp_path / "metrics/server.pem").write_text(made)
    [(name, labels, value)] = host_metrics.of_certificates(CONFIG)
    days = (value - datetime.datetime.now(datetime.UTC).timestamp()) / 86400
    assert (name, labels) == ("certificate_end_seconds", {"of": "metrics"})
    assert 395 < days < 398


def test_a_part_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layout, "HAPROXY", tmp_path)
    (tmp_path / "api").mkdir()
    (tmp_path / "api/server.pem").write_text("no certificate")
    seen = list(host_metrics.samples({**CONFIG, "serves": False}))
    assert [(n, v) for n, _, v in seen[:-1]] == [("read_failed", 1.0)]
    assert seen[-1][0] == "read_time_seconds"
    assert capsys.readouterr().err.startswith("certificates: ")


def test_any_text_is_a_label() -> None:
    text = host_metrics.text(iter([("last_run_info", {"who": 'a"b\\c\nd'}, 1.0)]))
    head, line = text.splitlines()
    assert head == "# TYPE vllm_fleet_last_run_info gauge"
    assert LINE.fullmatch(line), line
