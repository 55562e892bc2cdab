"""Is a host fit? Every answer is ready, warn or blocked; a fact that is unknown is never ready.

Pure: decides from the settings and the one snapshot. Nothing here changes or asks a host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet import vllm_config
from fleet.preflight_driver import driver
from fleet.preflight_fabric import fabric
from fleet.preflight_finding import Finding, Level
from fleet.preflight_kernel import kernel
from fleet.preflight_machine import machine, platform
from fleet.preflight_nfs import shared_cache
from fleet.preflight_packages import packages
from fleet.preflight_room import room
from fleet.settings import Settings
from fleet.snapshot import Snapshot

__all__ = ["Finding", "Level", "blocked", "findings", "skew"]

LIKE: dict[str, Callable[[Snapshot], str | None]] = {
    "platform": platform,
    "kernel": lambda s: s.host.kernel,
    "kho": lambda s: "off" if "kho=off" in (s.host.cmdline or "").split() else "as built",
    "driver": lambda s: s.driver.loaded,
    "container toolkit": lambda s: _version(s, "nvidia-container-toolkit"),
    "docker": lambda s: s.docker.version,
    "firmware": lambda s: s.host.dmi.bios_version if s.host.dmi else None,
    # plain Ubuntu: the pin, whatever boots now
    "kernel at boot": lambda s: s.kernels.boot_default if platform(s) == "dgx" else None,
}


def findings(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """All that is known about one host. What deploy.py mends by itself is a warning."""
    if "snapshot" in snapshot.errors:
        return machine(settings, snapshot)[:1]
    if platform(snapshot) == "other":  # what it lacks beyond that is no news
        return machine(settings, snapshot)
    return [
        *machine(settings, snapshot),
        *kernel(settings, snapshot),
        *driver(settings, snapshot),
        *packages(settings, snapshot),
        *room(settings, snapshot),
        *fabric(settings, snapshot),
        *_remote_code(settings),
        *shared_cache(settings, snapshot),
    ]


def _remote_code(settings: Settings) -> list[Finding]:
    """The server runs Python that the model's repository brings."""
    if not vllm_config.serve_config(settings).get("trust-remote-code"):
        return []
    code = f"code of {settings.model.repo}@{settings.model.revision[:12]} runs in the server"
    remedy = "read that code; drop trust-remote-code from the mode or vllm_args if it is not needed"
    return [Finding("trust-remote-code", "warn", code, "off", remedy)]


def blocked(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level == "blocked"]


def skew(replica: str, hosts: Mapping[str, Snapshot]) -> list[Finding]:
    """The hosts of one replica run one model together, so what they run on must be equal.

    A host where a part is not installed yet is told by its own preflight, not here.
    """
    found = []
    for part, read in LIKE.items():
        values = {name: value for name, snapshot in hosts.items() if (value := read(snapshot))}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
            found.append(
                Finding(
                    f"skew: {part}",
                    "blocked",
                    told,
                    f"equal on all hosts of replica {replica}",
                    "move the differing hosts to one version with upgrade.py; DGX OS by its own "
                    "updates (DGX Dashboard)",
                )
            )
    return found


def _version(snapshot: Snapshot, name: str) -> str | None:
    package = snapshot.packages.get(name)
    return package.version if package else None
