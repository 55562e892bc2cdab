"""The wanted state of one host: plain host data, its mode and its model, joined once and checked.

Pure: reads modes/ and models/ of this repository, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet import footprint
from fleet.access import AccessSettings
from fleet.bundle import BundleSettings, localized
from fleet.catalogue import OURS, Catalogue
from fleet.endpoint import GatewaySettings
from fleet.fabric import FabricSettings
from fleet.fanout import FanoutSettings
from fleet.host import HostSettings
from fleet.images import ImageSettings
from fleet.loopback import is_loopback
from fleet.measuring import MeasureSettings
from fleet.monitoring import MonitoringSettings
from fleet.nfs import CacheSettings
from fleet.options import RunOptions
from fleet.problems import SettingsError
from fleet.replicas import Rank
from fleet.serve import ServeSettings
from fleet.serving import Serving, Where, collect, join, parse
from fleet.waves import RolloutSettings

__all__ = ["Catalogue", "Data", "Settings", "SettingsError", "load", "names", "own_keys"]

_PYINFRA = ("_", "ssh_", "fake_")  # prefixes of pyinfra's own data keys


class Data(
    HostSettings,
    FabricSettings,
    FanoutSettings,
    BundleSettings,
    ServeSettings,
    AccessSettings,
    GatewaySettings,
    MonitoringSettings,
    ImageSettings,
    CacheSettings,
    RolloutSettings,
    MeasureSettings,
    RunOptions,
):
    """Every key a person may set for a host, in an inventory, group data or by --data."""

    @property
    def exposed(self) -> bool:
        """The API is reached from outside the host, through a proxy."""
        return not is_loopback(self.listen)

    @property
    def open_port(self) -> int:
        """Where clients reach the API."""
        return self.api_port if self.exposed else self.port

    @property
    def ports(self) -> dict[str, int]:
        """Where something listens on a host that serves, by the key that says so."""
        used = {
            "port": True,
            "api_port": self.exposed,
            "fan_out_port": self.fan_out,
            "bundle_port": self.bundle is not None,
            "cluster_port": self.replica is not None,
        }
        return {key: getattr(self, key) for key, is_used in used.items() if is_used}


class Settings(Data, Serving):
    """Data of one host, with the mode and the model it names."""

    host: str


def names() -> set[str]:
    """Every key, as a person writes it."""
    return {field.alias or name for name, field in Data.model_fields.items()}


def own_keys(data: Mapping[str, object]) -> dict[str, object]:
    """``data`` without the keys that are pyinfra's own."""
    return {key: value for key, value in data.items() if not str(key).startswith(_PYINFRA)}


def load(
    host: str,
    data: Mapping[str, object],
    where: Where,
    *,
    ranks: tuple[Rank, ...] = (),
    whole: bool = False,
    catalogue: Catalogue = OURS,
) -> Settings:
    """Host data as Settings, or SettingsError with a line for every mistake of the host at once.

    ``where(key)`` names the file (or --data) a key came from; for a key that is missing, the file
    it belongs in. ``ranks`` are the hosts of its replica, () where it serves alone; ``whole``: no
    host is meant, but a replica as large as its sizes say.
    """
    problems: list[str] = []
    own = localized(own_keys(data))
    flat = collect(problems, lambda: parse(Data, own, where))
    gpus = None if whole else len(ranks) or 1
    problems += _same_ports(flat, where) if flat else []
    parts = collect(problems, lambda: join(own, flat, where, gpus, catalogue))
    if flat is None or parts is None or problems:
        raise SettingsError(*problems)
    settings = Settings(host=host, ranks=ranks, **dict(flat), **parts)
    if settings.exposed and settings.api_auth == "none" and not settings.firewall:
        raise SettingsError(
            f"{where('api_auth')}: api_auth: found 'none' while listen is {settings.listen}; "
            "allowed: 'key', or firewall = True with the networks in allowed_sources"
        )
    result = footprint.memory(settings)
    if result and result.verdict == "refused":
        remedy = f"; what fits: {', '.join(result.remedies)}" if result.remedies else ""
        raise SettingsError(f"{where('vllm_model')}: vllm_model: {result.problem}{remedy}")
    return settings


def _same_ports(data: Data, where: Where) -> list[str]:
    """Of two servers at one port only the first would start."""
    by_port: dict[int, str] = {}
    return [
        f"{where(key)}: {key}: found {port}, which is {other} too; allowed: a port of its own"
        for key, port in data.ports.items()
        if (other := by_port.setdefault(port, key)) != key
    ]
