"""Every alert in the hands of the real promtool: it fires for its fault, and for nothing less."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet import alerts, prometheus
from fleet.authority import create
from fleet.monitoring import MonitoringSettings
from fleet.prometheus import Target
from tests.programs import needed

pytestmark = pytest.mark.slow
AFTER_S, INTERVAL_S = 300, 15
HOST = 'host="spark-01"'
LONG = "x60"  # readings, one a minute
FIRES, CALM = "30m", "4m"


@dataclass(frozen=True)
class Case:
    """``bad`` and ``good``: series with their values; ``labels`` and ``summary`` of the alert."""

    bad: dict[str, str]
    good: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=dict)
    at_once: bool = False


def gauge(name: str, value: float, *labels: str) -> dict[str, str]:
    inner = ",".join((HOST, *labels))
    return {f"{name}{{{inner}}}": f"{value}+0{LONG}"}


def counter(name: str, per_minute: float, *labels: str) -> dict[str, str]:
    inner = ",".join((HOST, *labels))
    return {f"{name}{{{inner}}}": f"0+{per_minute}{LONG}"}


RUNNING = gauge("vllm:num_requests_running", 3)
STUCK_TOKENS = counter("vllm:generation_tokens_total", 0)
FULL_CACHE = gauge("vllm:kv_cache_usage_perc", 0.5)
CLOCK_MAX = gauge("vllm_fleet_gpu_clock_max_hertz", 3.0e9)
BUSY = gauge("vllm_fleet_gpu_busy_ratio", 0.9)
FLOOR = gauge("vllm_fleet_memory_floor_bytes", 4 * 2**30)
RESERVE = gauge("vllm_fleet_cache_reserve_bytes", 20 * 2**30)
MODEL = ('proxy="model-0"', 'server="spark-02"', 'state="UP"')
CASES = {
    "TargetDown": Case(
        gauge("up", 0, 'job="vllm"'),
        gauge("up", 1, 'job="vllm"'),
        "spark-01: vllm gives no figures",
        {"job": "vllm"},
    ),
    "NotServing": Case(
        gauge("vllm_fleet_serving", 0),
        gauge("vllm_fleet_serving", 1),
        "spark-01: vllm.service is not active",
    ),
    "NoTokenProgress": Case(
        {**RUNNING, **STUCK_TOKENS, **FULL_CACHE},
        {**RUNNING, **counter("vllm:generation_tokens_total", 1), **FULL_CACHE},
        "spark-01: 3 requests run and no token comes",
    ),
    "MemoryLow": Case(
        {**gauge("node_memory_MemAvailable_bytes", 2**30), **FLOOR},
        {**gauge("node_memory_MemAvailable_bytes", 5 * 2**30), **FLOOR},
        "spark-01: 1GiB of memory available, below memory_floor_gib",
    ),
    "GpuClockStuck": Case(
        {**gauge("vllm_fleet_gpu_clock_hertz", 208e6), **CLOCK_MAX, **BUSY},
        {**gauge("vllm_fleet_gpu_clock_hertz", 2.4e9), **CLOCK_MAX, **BUSY},
        "spark-01: the GPU works at 208MHz, under half of its highest clock; take the power "
        "cable out",
    ),
    "GpuSilent": Case(
        gauge("vllm_fleet_gpu_answers", 0),
        gauge("vllm_fleet_gpu_answers", 1),
        "spark-01: nvidia-smi gives no answer",
    ),
    "DriverMismatch": Case(
        gauge("vllm_fleet_driver_mismatch", 1),
        gauge("vllm_fleet_driver_mismatch", 0),
        "spark-01: another NVIDIA driver is loaded than is installed; drain and reboot",
    ),
    "CacheDiskLow": Case(
        {**gauge("vllm_fleet_cache_free_bytes", 2**30), **RESERVE},
        {**gauge("vllm_fleet_cache_free_bytes", 30 * 2**30), **RESERVE},
        "spark-01: 1GiB free beside the models, below disk_reserve_gib",
    ),
    "CertificateEnds": Case(
        gauge("vllm_fleet_certificate_end_seconds", 1800 + 10 * 86400, 'of="api"'),
        gauge("vllm_fleet_certificate_end_seconds", 1800 + 90 * 86400, 'of="api"'),
        "spark-01: the certificate of api ends in 10d 0h 0m 0s; run deploy.py",
        {"of": "api"},
        at_once=True,
    ),
    "Drift": Case(
        gauge("vllm_fleet_drift", 1),
        gauge("vllm_fleet_drift", 0),
        "spark-01: it serves another release than the last run wanted; see status.py",
    ),
    "LastRunFailed": Case(
        gauge("vllm_fleet_last_run_ok", 0),
        gauge("vllm_fleet_last_run_ok", 1),
        "spark-01: the last change of what it serves failed; see status.py",
        at_once=True,
    ),
    "FiguresOld": Case(
        gauge("vllm_fleet_read_time_seconds", 0),
        {f"vllm_fleet_read_time_seconds{{{HOST}}}": f"0+60{LONG}"},
        "spark-01: vllm-fleet-metrics.service has written nothing for 30m 0s",
    ),
    "ReplicaOut": Case(
        gauge("haproxy_server_status", 0, *MODEL),
        gauge("haproxy_server_status", 1, *MODEL),
        "spark-01: replica spark-02 is out of the gateway",
        {"proxy": "model-0", "server": "spark-02", "state": "UP"},
    ),
}
# Not the fault: a GPU at rest has a low clock; a long prefill makes no token, but fills the cache.
HARMLESS = {
    "GpuClockStuck": {
        **gauge("vllm_fleet_gpu_clock_hertz", 208e6),
        **CLOCK_MAX,
        **gauge("vllm_fleet_gpu_busy_ratio", 0.0),
    },
    "NoTokenProgress": {
        **RUNNING,
        **STUCK_TOKENS,
        **counter("vllm:kv_cache_usage_perc", 0.001),
    },
}


@pytest.fixture(scope="module")
def promtool() -> str:
    needed({"promtool": "prometheus"})
    return "promtool"


def run(*argv: str | Path, cwd: Path) -> None:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def judged(series: dict[str, str], name: str, at: str, expected: list[Any]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": expected}],
    }


def fired(name: str) -> list[dict[str, Any]]:
    case, alert = CASES[name], next(one for one in alerts.ALERTS if one.name == name)
    labels = {"host": "spark-01", "severity": alert.severity, **case.labels}
    return [{"exp_labels": labels, "exp_annotations": {"summary": case.summary}}]


def test_every_alert_has_its_case() -> None:
    assert set(CASES) == {alert.name for alert in alerts.ALERTS}
    assert {n for n, case in CASES.items() if case.at_once} == {
        alert.name for alert in alerts.ALERTS if alert.at_once
    }


def test_each_fires_for_its_fault_and_for_nothing_less(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(alerts.rules(AFTER_S, INTERVAL_S))
    run(promtool, "check", "rules", "alerts.yml", cwd=tmp_path)
    tests = []
    for name, case in CASES.items():
        tests.append(judged(case.bad, name, FIRES, fired(name)))
        tests.append(judged(case.good, name, FIRES, []))
        if not case.at_once:
            tests.append(judged(case.bad, name, CALM, []))
    tests += [judged(series, name, FIRES, []) for name, series in HARMLESS.items()]
    body = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(body))
    run(promtool, "test", "rules", "tests.yml", cwd=tmp_path)


def test_promtool_would_tell(promtool: str, tmp_path: Path) -> None:
    """The check itself can fail."""
    (tmp_path / "alerts.yml").write_text(alerts.rules(AFTER_S, INTERVAL_S))
    case = judged(CASES["Drift"].good, "Drift", FIRES, fired("Drift"))
    body = {"rule_files": ["alerts.yml"], "tests": [case]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(body))
    with pytest.raises(AssertionError, match="FAILED"):
        run(promtool, "test", "rules", "tests.yml", cwd=tmp_path)


@pytest.mark.parametrize("managers", [(), ("alerts.example:9093", "[2001:db8::1]:9093")])
def test_promtool_takes_the_configuration(
    promtool: str, tmp_path: Path, managers: tuple[str, ...]
) -> None:
    targets = [
        Target("node", "spark-01", "192.0.2.1", 9443, "authority"),
        Target("vllm", "spark-01", "192.0.2.1", 9443, "authority"),
        Target("node", "spark-02", "2001:db8::2", 9443, "system"),
        Target("gateway", "gate-01", "192.0.2.5", 443, "none"),
    ]
    own = MonitoringSettings(alertmanagers=managers)
    authority = create().certificate
    for name, text in prometheus.files(own, targets, "<html>", authority).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    run(promtool, "check", "config", "prometheus.yml", cwd=tmp_path)
    jobs = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: (job["scheme"], job["metrics_path"]) for job in jobs}
    assert found == {
        "node-authority": ("https", "/node"),
        "vllm-authority": ("https", "/vllm"),
        "node-system": ("https", "/node"),
        "gateway-none": ("http", "/metrics"),
    }
