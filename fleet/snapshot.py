"""The typed view of what ``files/snapshot.py`` read on a host. None always means: not known."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from fleet.docker_facts import Docker
from fleet.fabric_facts import LENIENT, Fabric
from fleet.untrusted import printable, steerless


class SnapshotError(Exception):
    """The host's answer is no snapshot; the message is one line."""


class Lenient(BaseModel):
    model_config = LENIENT


class PciDevice(Lenient):
    slot: str
    id: str


class Dmi(Lenient):
    sys_vendor: str | None = None
    product_name: str | None = None
    product_family: str | None = None
    board_name: str | None = None
    bios_version: str | None = None


class Host(Lenient):
    """The machine and its running system. ``meminfo`` in kB."""

    arch: str | None = None
    dpkg_arch: str | None = None
    os_release: dict[str, str] | None = None
    dgx_release: dict[str, str] | None = None
    kernel: str | None = None
    cmdline: str | None = None
    boot_id: str | None = None
    hostname: str | None = None
    dmi: Dmi | None = None
    secure_boot: bool | None = None
    cgroup_v2: bool | None = None
    clock_synced: bool | None = None
    meminfo: dict[str, int] | None = None
    swap: list[str] | None = None
    pci: list[PciDevice] | None = None
    default_target: str | None = None
    python: str | None = None
    watchdog: str | None = None
    reboot_required: bool | None = None
    sysctls: dict[str, str | None] | None = None


class Kernels(Lenient):
    """What could boot. A kernel without an initrd has no entry in ``initrd_bytes``."""

    installed: list[str] = []
    initrd_bytes: dict[str, int] = {}
    boot_default: str | None = None
    boot_cmdline: str | None = None


class Driver(Lenient):
    """``loaded`` runs in the kernel, ``installed`` lies on disk for the running kernel."""

    loaded: str | None = None
    installed: str | None = None
    license: str | None = None
    signer: str | None = None
    smi: dict[str, str | None] | None = None
    smi_error: str | None = None


class Package(Lenient):
    """``version`` is None unless the package is fully installed."""

    version: str | None = None
    status: str = ""
    hold: bool = False


class FileState(Lenient):
    kind: str
    mode: str
    owner: str
    group: str
    size: int = 0
    mtime: float = 0.0
    sha256: str | None = None
    target: str | None = None


class Unit(Lenient):
    """systemd's own names and words; ``started`` and ``changed`` (also by a reload) are times like
    a file's ``mtime``, and ``unwanted_here`` says that conditions keep it off on this machine."""

    LoadState: str = ""
    ActiveState: str = ""
    SubState: str = ""
    UnitFileState: str = ""
    NeedDaemonReload: str = ""
    Result: str = ""
    started: float | None = None
    changed: float | None = None
    unwanted_here: bool = False


class Serving(Lenient):
    """``activation`` and ``verified`` are the JSON that the host programs wrote, ``texts`` and
    ``previous_texts`` the files of these releases by name.
    """

    current: str | None = None
    previous: str | None = None
    releases: list[str] = []
    activation: dict[str, Any] | None = None
    verified: dict[str, Any] | None = None
    lock: dict[str, str] | None = None
    texts: dict[str, str] = {}
    previous_texts: dict[str, str] = {}


class ModelFile(Lenient):
    """``mark``: inode, size in bytes, modification time in ns; None for a link into nowhere."""

    mark: list[int] | None = None
    blob: str | None = None


class Model(Lenient):
    """One revision in the Hub cache."""

    present: bool = False
    files: dict[str, ModelFile] = {}


class Listener(Lenient):
    port: int
    pid: int | None = None
    cmd: str | None = None
    cgroup: str | None = None


class Nfs(Lenient):
    """The shared cache: whether its server answers, what is mounted, whether that answers."""

    answers: bool | None = None
    source: str | None = None
    usable: bool = False


class Disk(Lenient):
    """Bytes."""

    free: int
    total: int


class Snapshot(Lenient):
    """One host at one moment. A group that could not be read is empty; ``errors`` says why."""

    host: Host = Host()
    kernels: Kernels = Kernels()
    driver: Driver = Driver()
    packages: dict[str, Package] = {}
    dpkg_unsettled: list[str] = []
    apt_sources: dict[str, str] = {}
    files: dict[str, FileState] = {}
    units: dict[str, Unit] = {}
    docker: Docker = Docker()
    serving: Serving = Serving()
    models: dict[str, Model] = {}
    listeners: list[Listener] = []
    ssh_peers: list[str] = []
    firewall: str | None = None  # the mark of our loaded nftables table
    ufw: bool | None = None
    fabric: Fabric = Fabric()
    nfs: Nfs = Nfs()
    gateway: dict[str, str] = {}  # server → UP, DOWN, DRAIN, …
    disk: dict[str, Disk] = {}
    errors: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """The last line of the program's output; raises ``SnapshotError`` for anything else."""
        try:
            found = steerless(json.loads(text.strip().splitlines()[-1]))
            return cls.model_validate(_known(found))
        except (IndexError, AttributeError, ValueError) as error:
            said = printable(" ".join(text.split()), 200) or "nothing"
            reason = printable(_reason(error))
            raise SnapshotError(f"host snapshot: found {said}; {reason}") from error

    @classmethod
    def unreadable(cls) -> Snapshot:
        """What stands for a host that gave no answer: nothing is known, so nothing is ready."""
        return cls(errors={"snapshot": "the host gave no answer"})


def _known(found: dict[str, Any]) -> dict[str, Any]:
    """Without what could not be read, and without the paths that do not exist."""
    known = {name: value for name, value in found.items() if value is not None}
    for group in ("files", "docker"):
        inner = known.get(group, {}).items()
        known[group] = {name: value for name, value in inner if value is not None}
    return known


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return "wanted one line of JSON"
