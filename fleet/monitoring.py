"""What a person may set about monitoring: the inventory's group ``monitoring``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from fleet.serve import address
from fleet.strict import Strict


def _server(value: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}", value):
        raise ValueError("allowed: a host with its port, such as alerts.example:9093")
    return value


Servers = Annotated[tuple[Annotated[str, AfterValidator(_server)], ...], Field(strict=False)]


class MonitoringSettings(Strict):
    """Figures of every host, and the machine that keeps them, shows them and raises alerts."""

    metrics_listen: Annotated[str, AfterValidator(address)] = Field(
        default="0.0.0.0", description="Address of a host where its figures are read"
    )
    metrics_port: int = Field(
        default=9443,
        ge=1,
        le=65535,
        description="TCP port of a host's figures (HAProxy's, TLS as tls says); it answers the "
        "group monitoring and metrics_sources, nobody else",
    )
    monitoring_listen: Annotated[str, AfterValidator(address)] = Field(
        default="127.0.0.1",
        description="Address of Prometheus and its board. They ask for no password: beyond "
        "loopback everybody whom the network lets in reads them",
    )
    monitoring_port: int = Field(
        default=9090, ge=1, le=65535, description="TCP port of Prometheus and its board"
    )
    monitoring_interval_s: int = Field(
        default=15, ge=1, le=300, description="Seconds between two readings of a figure"
    )
    monitoring_days: int = Field(
        default=30, ge=1, le=3650, description="Days for which figures are kept"
    )
    alert_after_s: int = Field(
        default=300, ge=1, le=86400, description="Seconds that a fault lasts before its alert fires"
    )
    alertmanagers: Servers = Field(
        default=(), description="Alertmanagers that alerts are sent to, HOST:PORT each"
    )
