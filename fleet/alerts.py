"""The alerts: what has been seen to stop or to slow a GB10 host. Pure.

Names that begin with ``vllm_fleet_`` are files/host_metrics.py's, ``vllm:`` the server's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

DAY_S = 24 * 3600
# Any of these moving means the engine works; a long chunked prefill moves the KV cache alone.
COUNTERS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:iteration_tokens_total_count",
)


@dataclass(frozen=True)
class Alert:
    """``expr`` has one series for each host that is in trouble; ``summary`` is a Go template.
    ``at_once``: it fires without waiting."""

    name: str
    expr: str
    summary: str
    severity: str = "warning"
    at_once: bool = False


ALERTS = (
    Alert(
        "TargetDown",
        "up == 0",
        "{{ $labels.host }}: {{ $labels.job }} gives no figures",
        "critical",
    ),
    Alert(
        "NotServing",
        "vllm_fleet_serving == 0",
        "{{ $labels.host }}: vllm.service is not active",
        "critical",
    ),
    Alert(
        "NoTokenProgress",
        "sum by (host) (vllm:num_requests_running) > 0"
        + "".join(f" unless on (host) rate({name}[WINDOW]) > 0" for name in COUNTERS)
        + " unless on (host) changes(vllm:kv_cache_usage_perc[WINDOW]) > 0",
        "{{ $labels.host }}: {{ $value }} requests run and no token comes",
        "critical",
    ),
    Alert(
        "MemoryLow",
        "node_memory_MemAvailable_bytes < vllm_fleet_memory_floor_bytes",
        "{{ $labels.host }}: {{ $value | humanize1024 }}B of memory available, below "
        "memory_floor_gib",
        "critical",
    ),
    Alert(
        "GpuClockStuck",
        "vllm_fleet_gpu_clock_hertz < 0.5 * vllm_fleet_gpu_clock_max_hertz "
        "and vllm_fleet_gpu_busy_ratio > 0.5",
        "{{ $labels.host }}: the GPU works at {{ $value | humanize }}Hz, under half of its "
        "highest clock; take the power cable out",
    ),
    Alert(
        "GpuSilent",
        "vllm_fleet_gpu_answers == 0",
        "{{ $labels.host }}: nvidia-smi gives no answer",
        "critical",
    ),
    Alert(
        "DriverMismatch",
        "vllm_fleet_driver_mismatch == 1",
        "{{ $labels.host }}: another NVIDIA driver is loaded than is installed; drain and reboot",
        "critical",
    ),
    Alert(
        "CacheDiskLow",
        "vllm_fleet_cache_free_bytes < vllm_fleet_cache_reserve_bytes",
        "{{ $labels.host }}: {{ $value | humanize1024 }}B free beside the models, below "
        "disk_reserve_gib",
    ),
    Alert(
        "CertificateEnds",
        f"vllm_fleet_certificate_end_seconds - time() < {21 * DAY_S}",
        "{{ $labels.host }}: the certificate of {{ $labels.of }} ends in "
        "{{ $value | humanizeDuration }}; run deploy.py",
        at_once=True,
    ),
    Alert(
        "Drift",
        "vllm_fleet_drift == 1",
        "{{ $labels.host }}: it serves another release than the last run wanted; see status.py",
    ),
    Alert(
        "LastRunFailed",
        "vllm_fleet_last_run_ok == 0",
        "{{ $labels.host }}: the last change of what it serves failed; see status.py",
        at_once=True,
    ),
    Alert(
        "FiguresOld",
        "time() - vllm_fleet_read_time_seconds > WINDOW_S",
        "{{ $labels.host }}: vllm-fleet-metrics.service has written nothing for "
        "{{ $value | humanizeDuration }}",
    ),
    Alert(
        "ReplicaOut",
        'haproxy_server_status{state="UP",proxy=~"model-.*"} == 0',
        "{{ $labels.host }}: replica {{ $labels.server }} is out of the gateway",
    ),
)


def rules(after_s: int, interval_s: int) -> str:
    """Prometheus' rule file. A fault lasts ``after_s`` seconds before its alert fires; figures are
    read every ``interval_s`` seconds."""
    window = max(after_s, 4 * interval_s)  # a rate wants some readings

    def one(alert: Alert) -> dict[str, object]:
        expr = alert.expr.replace("WINDOW_S", str(window)).replace("WINDOW", f"{window}s")
        return {
            "alert": alert.name,
            "expr": expr,
            "for": "0s" if alert.at_once else f"{after_s}s",
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary},
        }

    group = {"name": "vllm-fleet", "rules": [one(alert) for alert in ALERTS]}
    return "# Written by vllm-fleet: a change here is lost.\n" + str(
        yaml.safe_dump({"groups": [group]}, sort_keys=False, width=1000)
    )
