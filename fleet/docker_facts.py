"""What a host's Docker daemon told of itself, as ``files/facts_docker.py`` read it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fleet.fabric_facts import LENIENT


class Lenient(BaseModel):
    model_config = LENIENT


class Container(Lenient):
    id: str
    name: str
    labels: dict[str, str] = {}
    state: str = ""
    image: str = ""


class DaemonJson(Lenient):
    """``invalid`` says why the text is no JSON object."""

    text: str | None = None
    invalid: str | None = None


class Cdi(Lenient):
    devices: list[str] = []
    drivers: list[str] = []


class DockerInfo(Lenient):
    Driver: str | None = None
    Runtimes: dict[str, Any] | None = None
    LiveRestoreEnabled: bool | None = None
    CgroupDriver: str | None = None
    RegistryConfig: dict[str, Any] | None = None

    def speaks_http(self, registry: str) -> bool:
        """Whether the daemon takes ``registry`` (HOST:PORT) without TLS."""
        known = (self.RegistryConfig or {}).get("IndexConfigs") or {}
        return registry in known and not known[registry].get("Secure", True)


class Docker(Lenient):
    """``images``: each tag and digest → image id. ``error`` when no daemon answered."""

    version: str | None = None
    error: str | None = None
    images: dict[str, str] = {}
    containers: list[Container] = []
    daemon_json: DaemonJson = DaemonJson()
    cdi: dict[str, Cdi] = {}
    info: DockerInfo = DockerInfo()
