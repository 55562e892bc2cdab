"""The text of every file that the host half writes. Pure: settings in, path → text out."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from fleet import templates
from fleet.host import HostSettings

UNITS = "/etc/systemd/system"
PREFERENCES = "/etc/apt/preferences.d/00-vllm-fleet.pref"  # the first record that fits is used
UNATTENDED = "/etc/apt/apt.conf.d/52vllm-fleet"
NEEDRESTART = "/etc/needrestart/conf.d/50-vllm-fleet.conf"
JOURNALD = "/etc/systemd/journald.conf.d/50-vllm-fleet.conf"
SYSCTLS = "/etc/sysctl.d/90-vllm-fleet.conf"
EARLYOOM = f"{UNITS}/earlyoom.service.d/50-vllm-fleet.conf"
WATCHDOG = "vllm-fleet-watchdog.service"
FIREWALL = "vllm-fleet-firewall.service"
FIREWALL_RULES = "/etc/vllm-fleet/firewall.nft"
GPU_CLOCKS = "vllm-fleet-gpu-clocks.service"
GRUB = "/etc/default/grub.d/90-vllm-fleet.cfg"
EXTRA_CA = "/usr/local/share/ca-certificates/vllm-fleet.crt"
KEYRINGS = "/etc/apt/keyrings"
NETPLAN = "/etc/netplan/60-vllm-fleet.yaml"
# The login shell lives in user.slice: protecting ssh alone would not let a person work.
PROTECTED = {"ssh.service": ("192M", "256M"), "user.slice": ("4G", "6G")}

_templates = templates.environment("host")


@dataclass(frozen=True)
class Repository:
    """A vendor's apt repository, and where its key is fetched and pinned."""

    name: str
    uri: str
    suite: str
    components: str
    key_url: str
    fingerprint: str

    @property
    def keyring(self) -> str:
        """Named by the fingerprint: the file is only ever written after the comparison."""
        return f"{KEYRINGS}/vllm-fleet-{self.name}-{self.fingerprint}.asc"

    @property
    def source(self) -> str:
        return f"/etc/apt/sources.list.d/vllm-fleet-{self.name}.sources"


def owned() -> tuple[str, ...]:
    """Patterns that fit every path this module writes, whatever the settings, and no other's."""
    drop_ins = (*PROTECTED, "earlyoom.service")
    return (
        *(PREFERENCES, UNATTENDED, NEEDRESTART, JOURNALD, SYSCTLS, GRUB, EXTRA_CA, NETPLAN),
        *(f"{UNITS}/{name}" for name in (WATCHDOG, GPU_CLOCKS)),
        *(f"{UNITS}/{unit}.d/50-vllm-fleet.conf" for unit in drop_ins),
        f"{KEYRINGS}/vllm-fleet-*.asc",
        "/etc/apt/sources.list.d/vllm-fleet-*.sources",
        "/etc/docker/.vllm-fleet-daemon.json",
        # Of a shared model cache (fleet/nfs.py); a mount unit is named by its folder.
        *("/etc/exports.d/vllm-fleet.exports", f"{UNITS}/*.mount"),
        f"{UNITS}/vllm.service.d/50-vllm-fleet-cache.conf",
    )


def cuda(settings: HostSettings) -> Repository:
    """NVIDIA's CUDA repository: the driver pinning package. ``sbsa`` is arm64 servers."""
    flavour = {"arm64": "sbsa", "amd64": "x86_64"}[settings.host_arch]
    uri = f"https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/{flavour}/"
    return Repository("cuda", uri, "/", "", f"{uri}3bf863cc.pub", settings.nvidia_key_fingerprint)


def container_toolkit(settings: HostSettings) -> Repository:
    place = "https://nvidia.github.io/libnvidia-container"
    uri = f"{place}/stable/deb/{settings.host_arch}/"
    key = settings.toolkit_key_fingerprint
    return Repository("container-toolkit", uri, "/", "", f"{place}/gpgkey", key)


def docker(settings: HostSettings) -> Repository:
    uri = "https://download.docker.com/linux/ubuntu"
    key = settings.docker_key_fingerprint
    return Repository("docker", uri, "noble", "stable", f"{uri}/gpg", key)


def sources(settings: HostSettings, repository: Repository) -> dict[str, str]:
    """The deb822 file that defines ``repository``."""
    text = _render("repository.sources", repository=repository, arch=settings.host_arch)
    return {repository.source: text}


def preferences(settings: HostSettings) -> dict[str, str]:
    """Plain Ubuntu: apt's own choice of versions is the pins."""
    return {PREFERENCES: _render("preferences.pref", settings=settings)}


def sysctls(settings: HostSettings) -> dict[str, str]:
    """Name → value of every sysctl we set."""
    ours = {
        "vm.swappiness": str(settings.swappiness),
        # Boosted reclaim after fragmentation competes with the GPU's large allocations.
        "vm.watermark_boost_factor": "0",
    }
    return ours | settings.sysctls


def system(settings: HostSettings) -> dict[str, str]:
    """Files that both platforms get."""
    files = {
        NEEDRESTART: _render("needrestart.conf"),
        JOURNALD: _render("journald.conf", settings=settings),
        SYSCTLS: _render("sysctl.conf", sysctls=sysctls(settings)),
    }
    if settings.hold_packages:
        files[UNATTENDED] = _render("unattended.conf")
    if settings.protect_login:
        files |= _protection(PROTECTED)
    if settings.gpu_clocks_mhz:
        files[f"{UNITS}/{GPU_CLOCKS}"] = _render("gpu-clocks.service", settings=settings)
    return files


def earlyoom(settings: HostSettings) -> dict[str, str]:
    return {EARLYOOM: _render("earlyoom.conf", settings=settings)}


def watchdog() -> dict[str, str]:
    """Plain Ubuntu only: DGX OS answers the watchdog by itself."""
    return {f"{UNITS}/{WATCHDOG}": _render("watchdog.service")}


def firewall(settings: HostSettings, ports: tuple[int, ...]) -> dict[str, str]:
    """Rules that close ``ports`` to all but the allowed sources, and the unit that loads them."""
    return {
        FIREWALL_RULES: _rules(settings, ports, firewall_digest(settings, ports)),
        f"{UNITS}/{FIREWALL}": _render("firewall.service", rules=FIREWALL_RULES),
    }


def firewall_digest(settings: HostSettings, ports: tuple[int, ...]) -> str:
    """The mark that the loaded table carries, so that a look at it tells which rules it holds."""
    return hashlib.sha256(_rules(settings, ports, "").encode()).hexdigest()[:12]


def _rules(settings: HostSettings, ports: tuple[int, ...], digest: str) -> str:
    networks = [ipaddress.ip_network(n) for n in settings.allowed_sources]
    return _render(
        "firewall.nft",
        digest=digest,
        ports=ports,
        sources4=[str(n) for n in networks if n.version == 4],
        sources6=[str(n) for n in networks if n.version == 6],
    )


def netplan(netdevs: Mapping[str, str], mtu: int) -> dict[str, str]:
    """``netdevs``: name → address with prefix. Optional: a boot does not wait for a cable."""
    return {NETPLAN: _render("netplan.yaml", netdevs=netdevs, mtu=mtu)}


def grub(kernel: str, parameters: tuple[str, ...]) -> dict[str, str]:
    return {GRUB: _render("grub.cfg", kernel=kernel, parameters=parameters)}


def _protection(units: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        f"{UNITS}/{unit}.d/50-vllm-fleet.conf": _render(
            "memory-protection.conf", unit=unit, minimum=minimum, low=low
        )
        for unit, (minimum, low) in units.items()
    }


def _render(name: str, **values: object) -> str:
    return _templates.get_template(f"{name}.j2").render(**values)
