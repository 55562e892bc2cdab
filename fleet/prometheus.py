"""The texts of Prometheus and of what it reads on hosts. Pure: settings in, texts out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import yaml

from fleet import alerts, haproxy, templates
from fleet.access import AccessSettings
from fleet.gateway import Trust
from fleet.monitoring import MonitoringSettings

DOOR = "metrics"  # the HAProxy instance in front of a host's figures
NODE_PORT = 9110  # of our node exporter, on loopback; the distribution's own takes 9100
CONFIG, RULES, AUTHORITY = "prometheus.yml", "alerts.yml", "ca.crt"
BOARD = "consoles/fleet.html"

_templates = templates.environment("monitoring")


@dataclass(frozen=True)
class Target:
    """Something that gives figures. ``trust``: what checks its certificate."""

    job: Literal["vllm", "node", "gateway"]
    host: str
    address: str
    port: int
    trust: Trust

    @property
    def path(self) -> str:
        """Where its figures are."""
        return "/metrics" if self.job == "gateway" else f"/{self.job}"

    @property
    def place(self) -> str:
        """Its address as Prometheus writes it."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


def unit(name: str, **values: object) -> str:
    """``templates/monitoring/<name>.service.j2``."""
    return _templates.get_template(f"{name}.service.j2").render(**values)


def door(
    access: AccessSettings, own: MonitoringSettings, sources: Iterable[str], vllm: int | None
) -> str:
    """HAProxy's configuration in front of a host's figures; ``sources`` are networks that may
    read them, ``vllm`` the server's port, None where none has an API."""
    return haproxy.render(
        "metrics",
        access=access,
        address=own.metrics_listen,
        port=own.metrics_port,
        sources=list(sources),
        node=NODE_PORT,
        vllm=vllm,
    )


def config(settings: MonitoringSettings, targets: Iterable[Target]) -> str:
    """prometheus.yml of the machine with these ``settings``."""
    seconds = f"{settings.monitoring_interval_s}s"
    found: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        found.setdefault((target.job, target.trust), []).append(target)
    body: dict[str, object] = {
        "global": {
            "scrape_interval": seconds,
            "scrape_timeout": f"{min(settings.monitoring_interval_s, 10)}s",
            "evaluation_interval": seconds,
        },
        "rule_files": [RULES],
        "scrape_configs": [_job(same) for same in found.values()],
    }
    if settings.alertmanagers:
        servers = [{"targets": list(settings.alertmanagers)}]
        body["alerting"] = {"alertmanagers": [{"static_configs": servers}]}
    return "# Written by vllm-fleet: a change here is lost.\n" + str(
        yaml.safe_dump(body, sort_keys=False)
    )


def _job(targets: list[Target]) -> dict[str, object]:
    """One scrape job: targets of a kind whose certificates are checked alike."""
    first = targets[0]
    tls = {"authority": {"ca_file": AUTHORITY}, "system": {}, "none": None}[first.trust]
    return {
        "job_name": f"{first.job}-{first.trust}",
        "scheme": "http" if tls is None else "https",
        "metrics_path": first.path,
        **({"tls_config": tls} if tls else {}),
        "static_configs": [
            {"targets": [target.place], "labels": {"job": target.job, "host": target.host}}
            for target in targets
        ],
    }


def files(
    settings: MonitoringSettings, targets: list[Target], board: str, authority: str
) -> dict[str, str]:
    """Prometheus' files by name. ``authority``: our own's certificate, "" where none is needed."""
    return {
        CONFIG: config(settings, targets),
        RULES: alerts.rules(settings.alert_after_s, settings.monitoring_interval_s),
        BOARD: board,
        **({AUTHORITY: authority} if authority else {}),
    }
