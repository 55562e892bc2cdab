"""Preflight: apt, dpkg, package pins and Docker's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from fleet import host_packages
from fleet.host import HostSettings
from fleet.host_packages import differing, installed, numbers
from fleet.preflight_finding import Finding, check
from fleet.preflight_machine import platform
from fleet.snapshot import Snapshot

OURS = "/etc/apt/sources.list.d/vllm-fleet-"  # our own source files begin so
VENDORS = (
    "developer.download.nvidia.com/compute/cuda/repos",
    "nvidia.github.io/libnvidia-container",
    "download.docker.com/linux",
)
VENDOR_HOSTS = tuple(vendor.split("/")[0] for vendor in VENDORS)
SNAP_DOCKER = "/snap/bin/docker"


@dataclass(frozen=True)
class Source:
    """One repository definition of apt."""

    path: str
    uri: str
    signed_by: str

    @property
    def place(self) -> str:
        """The repository without scheme and closing slash."""
        parts = urlsplit(self.uri)
        return f"{parts.netloc}{parts.path}".rstrip("/")


def sources(snapshot: Snapshot) -> list[Source]:
    """The vendors' repositories as apt sees them: one entry for each URI of each file."""
    found: list[Source] = []
    for path, text in sorted(snapshot.apt_sources.items()):
        read = _deb822 if path.endswith(".sources") else _one_line
        found += [s for s in read(path, text) if s.place.startswith(VENDORS)]
    return found


def _one_line(path: str, text: str) -> Iterator[Source]:
    for line in text.splitlines():
        if found := re.match(r"\s*deb(?:-src)?\s+(?:\[(.*?)\]\s+)?(\S+)", line):
            options = dict(o.split("=", 1) for o in (found[1] or "").split() if "=" in o)
            yield Source(path, found[2], options.get("signed-by", ""))


def _deb822(path: str, text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in lines)
        }
        if fields.get("enabled", "yes").lower() not in ("no", "false", "0"):
            for uri in fields.get("uris", "").split():
                yield Source(path, uri, fields.get("signed-by", ""))


def packages(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    ubuntu = platform(snapshot) == "ubuntu"
    return [
        _dpkg(snapshot),
        *(_second_definitions(snapshot) if ubuntu else _contradictions(snapshot)),
        *(_pins(settings, snapshot) if ubuntu else _minimums(snapshot)),
        *(_conflicting(snapshot) if ubuntu else ()),
        _daemon_json(snapshot),
    ]


def _dpkg(snapshot: Snapshot) -> Finding:
    unread = "packages" in snapshot.errors
    return check(
        "dpkg",
        None if unread else not snapshot.dpkg_unsettled,
        ", ".join(snapshot.dpkg_unsettled[:5]),
        wanted="every package fully installed",
        remedy="dpkg --configure -a && apt-get -f install",
    )


def _second_definitions(snapshot: Snapshot) -> list[Finding]:
    """Plain Ubuntu: the vendors' repositories are defined by our files and by no other."""
    foreign = [s for s in sources(snapshot) if not s.path.startswith(OURS)]
    if not foreign:
        return [Finding("apt sources", "ready", "no second definition")]
    return [
        Finding(
            "apt sources",
            "blocked",
            f"{source.path} defines {source.place}",
            "defined once, by deploy.py",
            f"rm {source.path}; two definitions with different keys stop apt-get update",
        )
        for source in foreign
    ]


def _contradictions(snapshot: Snapshot) -> list[Finding]:
    """DGX OS: its own definitions stand; two for one place with different keys stop apt."""
    by_place: dict[str, list[Source]] = {}
    for source in sources(snapshot):
        by_place.setdefault(source.place, []).append(source)
    bad = {
        place: found
        for place, found in by_place.items()
        if len({s.signed_by for s in found}) > 1 or any(s.path.startswith(OURS) for s in found)
    }
    told = "; ".join(
        f"{place} in {' and '.join(sorted({s.path for s in found}))}"
        for place, found in bad.items()
    )
    return [
        check(
            "apt sources",
            not bad,
            told or "no second definition",
            wanted="DGX OS's own definitions only",
            remedy="remove the file that DGX OS did not bring; two keys stop apt-get update",
        )
    ]


def _pins(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    """deploy.py installs what is missing but never moves a version: that is upgrade.py's work."""
    pins = host_packages.pins(settings)
    wrong = differing(snapshot, pins)
    if not wrong:
        return [Finding("packages", "ready", "none differs from its pin")]
    return [
        Finding(
            "packages",
            "blocked",
            f"{name} {version}{' (held)' if snapshot.packages[name].hold else ''}",
            pins[name],
            "set the pin in group_data to it, or move the host to the pin with upgrade.py",
        )
        for name, version in sorted(wrong.items())
    ]


def _minimums(snapshot: Snapshot) -> list[Finding]:
    wanted = {
        "nvidia-container-toolkit": host_packages.TOOLKIT_MINIMUM,
        "docker-ce": host_packages.DOCKER_MINIMUM,
        "docker-compose-plugin": "2.30.0",
    }
    findings = []
    for name, minimum in wanted.items():
        found = installed(snapshot, name)
        findings.append(
            check(
                name,
                found is not None and numbers(found) >= numbers(minimum),
                found or "not installed",
                wanted=f"{minimum} or newer, as DGX OS brings it",
                remedy="update DGX OS (DGX Dashboard), or install nvidia-system-extra again",
            )
        )
    return findings


def _conflicting(snapshot: Snapshot) -> list[Finding]:
    """Another Docker is removed by a person: it may run somebody's containers."""
    found = [n for n in host_packages.CONFLICTING if installed(snapshot, n)]
    remove = f"apt-get remove {' '.join(found)}" if found else ""
    if SNAP_DOCKER in snapshot.files:
        found.append("the docker snap")
        remove = f"{remove} && snap remove docker".removeprefix(" && ")
    return [
        check(
            "other docker",
            not found,
            ", ".join(found) or "none",
            wanted="docker-ce only",
            remedy=remove,
        )
    ]


def _daemon_json(snapshot: Snapshot) -> Finding:
    invalid = snapshot.docker.daemon_json.invalid
    return check(
        "daemon.json",
        not invalid,
        f"/etc/docker/daemon.json is no valid JSON object: {invalid}" if invalid else "valid",
        wanted="a JSON object, or no file",
        remedy="mend it by hand; its keys are kept, so it is never replaced",
    )
