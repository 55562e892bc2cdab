"""What a person may set about the host itself: platform, driver, packages, memory, network.

A version pin has no default: what runs on a fleet is always written down in group data.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from fleet.replicas import ReplicaSettings
from fleet.strict import Strict
from fleet.words import (
    Branch,
    Clocks,
    Fingerprint,
    KernelParameters,
    Line,
    Networks,
    Packages,
    Size,
    Sysctls,
)

_OPENING = {"hosts", "seccomp-profile", "group"}  # of daemon.json
Pin = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+:~-]*$")]
Upstream = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){1,3}$")]
KernelPin = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+-[0-9]+\.[0-9][0-9A-Za-z.+~]*$")]
NEEDED = ("ca-certificates", "curl", "gnupg", "pciutils")


class DriverSettings(Strict):
    """Kernel and NVIDIA driver. On DGX OS they are asserted and held, never installed."""

    driver_branch: Branch = Field(
        default="580",
        description="The driver branch, '580': what DGX OS ships; 590 deadlocks in CUDA graphs",
    )
    driver_version: Upstream = Field(description="NVIDIA driver, upstream version, '580.159.03'")
    driver_minimum: Upstream = Field(
        default="580.95.05",
        description="Oldest driver accepted on DGX OS: CUDA 13.0 Update 2 needs it",
    )
    kernel_version: KernelPin = Field(
        description="Package version of linux-nvidia-hwe-24.04, '6.17.0-1032.32'"
    )
    kernel_modules_version: KernelPin = Field(
        description="Package version of linux-modules-nvidia-…-open: the signed module of exactly "
        "this driver for exactly this kernel, '6.17.0-1032.32'"
    )
    kernel_parameters: KernelParameters = Field(
        default=("pcie_port_pm=off", "initcall_blacklist=tegra234_cbb_init", "pci=pcie_bus_safe"),
        description="Kernel command line on plain Ubuntu: ConnectX-7 and CBB need them. "
        "kho=off is added for a 7.x kernel, which else keeps 9.3 GiB and breaks multi-node RoCE",
    )
    allow_reboot: bool = Field(
        default=False,
        description="Reboot a host that does not serve when its loaded kernel or driver is not "
        "the wanted one",
    )
    reboot_timeout_s: int = Field(
        default=900,
        ge=30,
        description="Seconds to wait for a host after a reboot; firmware may take minutes",
    )
    secure_boot_dkms: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="A module built by DKMS under Secure Boot needs a person at the console to "
        "enrol its key, so such a host is refused",
    )

    @property
    def kernel_release(self) -> str:
        """What ``uname -r`` says on plain Ubuntu: 6.17.0-1032.32 → 6.17.0-1032-nvidia."""
        return re.sub(r"^([0-9.]+-[0-9]+)\..*$", r"\1-nvidia", self.kernel_version)

    @field_validator("driver_version")
    @classmethod
    def _of_the_branch(cls, value: str, info: ValidationInfo) -> str:
        branch = info.data.get("driver_branch")  # absent where it is wrong itself
        if branch and not value.startswith(f"{branch}."):
            raise ValueError(f"allowed: a version of driver_branch {branch}")
        return value


class ContainerSettings(Strict):
    """NVIDIA Container Toolkit and Docker. On DGX OS they are asserted and held."""

    toolkit_version: Pin = Field(
        description="The four container toolkit packages, pinned together, '1.20.0-1'"
    )
    docker_version: Pin = Field(
        description="docker-ce and docker-ce-cli, '5:29.8.0-1~ubuntu.24.04~noble'"
    )
    containerd_version: Pin = Field(description="containerd.io, '2.3.5-1~ubuntu.24.04~noble'")
    compose_version: Pin = Field(description="docker-compose-plugin, '5.5.1-1~ubuntu.24.04~noble'")
    nvidia_key_fingerprint: Fingerprint = Field(description="Key of NVIDIA's CUDA repository")
    toolkit_key_fingerprint: Fingerprint = Field(description="Key of the toolkit's repository")
    docker_key_fingerprint: Fingerprint = Field(description="Key of Docker's repository")
    docker_daemon: dict[str, Any] = Field(
        default={},
        description="Keys merged into daemon.json over our own; other keys of the host stay",
    )

    @field_validator("docker_daemon")
    @classmethod
    def _closed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if opening := sorted(_OPENING & value.keys()):
            raise ValueError(
                f"allowed: any key but {', '.join(opening)}, which makes others root on the host"
            )
        return value


class BaseSettings(Strict):
    """The operating system around it."""

    host_arch: Literal["arm64", "amd64"] = Field(
        default="arm64", description="GB10 is arm64; amd64 is for the lab only"
    )
    extra_ca: Line | None = Field(
        default=None,
        description="Certificate file (PEM) on the control side that hosts trust as well",
    )
    base_packages: Packages = Field(
        default=NEEDED,
        description="Packages every host has; these four, which the rest of the steps needs, are "
        "always among them",
    )
    hold_packages: bool = Field(
        default=True,
        description="Hold kernel, driver, toolkit and Docker, and keep unattended-upgrades off "
        "them: a userspace newer than the loaded module makes new containers lose the GPU",
    )
    time_sync: Literal["timesyncd", "leave"] = Field(
        default="timesyncd",
        description="systemd-timesyncd is enough: TLS and logs need a clock; 'leave' for chrony",
    )
    journal_max_use: Size = Field(
        default="2G",
        description="Size of the persistent journal: the evidence after a wedge and power cycle",
    )
    swappiness: int = Field(
        default=10, ge=0, le=200, description="vm.swappiness: weights must not be swapped out"
    )
    swap: Literal["keep", "off"] = Field(
        default="keep",
        description="Sources disagree: without swap some loads die, with it some GPUs hang",
    )
    sysctls: Sysctls = Field(default={}, description="More sysctls, over our own; name → value")
    memory_guard: Literal["earlyoom", "off"] = Field(
        default="earlyoom",
        description="GPU memory is charged to no cgroup, so the kernel's OOM killer and "
        "systemd-oomd are blind; earlyoom watches MemAvailable",
    )
    memory_guard_kib: int = Field(
        default=1048576,
        ge=65536,
        description="MemAvailable (KiB) at which earlyoom ends the server, half of it for SIGKILL. "
        "Not a percentage: 5 % of 122 GiB killed healthy starts",
    )
    protect_login: bool = Field(
        default=True,
        description="MemoryMin for ssh and user.slice, so that a person can still log in",
    )
    watchdog_fix: bool = Field(
        default=True,
        description="Load sbsa_gwdt on plain Ubuntu: firmware arms the watchdog and resets the "
        "machine about every 20 minutes until a driver answers it",
    )
    gpu_clocks_mhz: Clocks | None = Field(
        default=None,
        strict=False,
        description="Lowest and highest GPU clock (nvidia-smi -lgc), for units that power off "
        "under load; null leaves them",
    )
    boot_target: Literal["multi-user", "leave"] = Field(
        default="leave",
        description="'multi-user' boots without the desktop, which frees about 1.8 GiB",
    )
    image_gib: float = Field(
        default=30.0,
        ge=0,
        description="Space (GiB) that pulling and unpacking the image takes, while it is absent",
    )
    disk_reserve_gib: float = Field(
        default=20.0,
        ge=0,
        description="Free space (GiB) that must remain beside image, weights and packages",
    )


class NetworkSettings(ReplicaSettings):
    """Who reaches the host."""

    firewall: bool = Field(
        default=False,
        description="Manage an nftables table that closes the API's and the gateway's port to all "
        "but allowed_sources and the gateways",
    )
    allowed_sources: Networks = Field(
        default=(),
        validate_default=True,
        description="Networks that may reach these ports; the host itself and the gateways always "
        "may",
    )

    @field_validator("allowed_sources")
    @classmethod
    def _somebody(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("firewall") and not value:
            raise ValueError("allowed: at least one network while firewall is on, ['192.0.2.0/24']")
        return value


class BootstrapSettings(Strict):
    """First contact: bootstrap.py only."""

    first_user: str | None = Field(
        default=None,
        pattern=r"^[a-z_][a-z0-9_-]*$",
        description="The vendor's account on a factory-fresh machine, with a password and sudo",
    )
    first_password_file: Line | None = Field(
        default=None,
        description="File on the control side that holds its password. "
        "Default: FLEET_FIRST_PASSWORD in the environment",
    )
    public_key: Line | None = Field(
        default=None,
        description="Public key file of the automation user. Default: ssh_key with .pub",
    )
    set_hostname: bool = Field(
        default=True, description="Name the machine as the inventory calls it"
    )
    narrow_sshd: bool = Field(
        default=True, description="Close password and root logins, once our key was seen to work"
    )


class HostSettings(
    DriverSettings, ContainerSettings, BaseSettings, NetworkSettings, BootstrapSettings
):
    """Everything about the host half."""
