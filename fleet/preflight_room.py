"""Preflight: memory, disk, and who else is there."""

from __future__ import annotations

from fleet.docker_facts import Docker
from fleet.models import LockedFile, ModelLock
from fleet.preflight_driver import serves
from fleet.preflight_finding import Finding, check
from fleet.preflight_nfs import mounts
from fleet.settings import Settings
from fleet.snapshot import Disk, Listener, ModelFile, Snapshot

GIB = 1024**3
DOCKER_DIR = "/var/lib/docker"


def room(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    return [
        _memory(settings, snapshot),
        *_disk(settings, snapshot),
        *_ports(settings, snapshot),
        *_ufw(settings, snapshot),
    ]


def _memory(settings: Settings, snapshot: Snapshot) -> Finding:
    """The floor that must remain. What the mode itself needs is asked again before it starts."""
    found = (snapshot.host.meminfo or {}).get("MemAvailable")
    floor = settings.memory_floor_gib
    enough = None if found is None else found / 1024**2 >= floor
    return check(
        "memory",
        enough or (serves(snapshot) and found is not None),
        f"{(found or 0) / 1024**2:.1f} GiB available",
        wanted=f"{floor:g} GiB or more",
        remedy="something else uses the memory: ps aux --sort=-rss, docker ps",
    )


def _disk(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """Weights and image may share a file system: then their needs add up."""
    needs = {DOCKER_DIR: 0}
    if not mounts(settings) or snapshot.nfs.usable:  # else the room there is not known yet
        needs = {settings.hub: weights_missing(settings, snapshot), **needs}
    if settings.vllm_image not in snapshot.docker.images:
        needs[DOCKER_DIR] = int(settings.image_gib * GIB)
    by_disk: dict[Disk | None, list[str]] = {}
    for path in needs:
        by_disk.setdefault(snapshot.disk.get(path), []).append(path)
    return [
        _space(disk, paths, sum(needs[path] for path in paths), settings.disk_reserve_gib)
        for disk, paths in by_disk.items()
    ]


def _space(disk: Disk | None, paths: list[str], need: int, reserve_gib: float) -> Finding:
    free = disk.free if disk else 0
    return check(
        f"disk {' and '.join(paths)}",
        # Nothing left to store: the reserve was for this.
        None if disk is None else need == 0 or free >= need + reserve_gib * GIB,
        f"{free / GIB:.1f} GiB free",
        wanted=f"{need / GIB:.1f} GiB to store and {reserve_gib:g} GiB to spare",
        remedy="free space (docker image ls, models not served), or enlarge the root: on plain "
        "Ubuntu lvextend -l +100%FREE -r /dev/ubuntu-vg/ubuntu-lv",
    )


def weights_missing(settings: Settings, snapshot: Snapshot) -> int:
    """Bytes of the locked files that do not lie in the cache in full."""
    return sum(file.size for lock in settings.locks for file in lacking(lock, snapshot))


def lacking(lock: ModelLock, snapshot: Snapshot) -> list[LockedFile]:
    """The locked files that do not lie in the cache in full."""
    cached = _cached(snapshot, lock.repo)
    return [file for file in lock.files if _size(cached.get(file.path)) != file.size]


def _size(file: ModelFile | None) -> int | None:
    return file.mark[1] if file and file.mark else None


def _cached(snapshot: Snapshot, repo: str) -> dict[str, ModelFile]:
    model = snapshot.models.get(repo)
    return model.files if model else {}


def _ports(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    ports = dict.fromkeys((settings.port, settings.open_port))
    return [_port(port, snapshot) for port in ports]


def _port(port: int, snapshot: Snapshot) -> Finding:
    foreign = [x for x in snapshot.listeners if x.port == port and not _is_ours(x, snapshot.docker)]
    told = "; ".join(f"pid {x.pid}: {(x.cmd or 'unknown')[:120]}" for x in foreign)
    return check(
        f"port {port}",
        None if "listeners" in snapshot.errors else not foreign,
        told or "free, or ours",
        wanted="no other server",
        remedy="stop it, or choose another port",
    )


def _is_ours(listener: Listener, docker: Docker) -> bool:
    """A container goes on without its daemon; then nobody can say that it is not ours."""
    group = listener.cgroup or ""
    ours = [c.id for c in docker.containers if "vllm-fleet.release" in c.labels]
    unknown = docker.error is not None and "docker" in group
    return "/vllm-fleet-haproxy@" in group or unknown or any(name in group for name in ours)


def _ufw(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """Ubuntu's firewall, which DGX OS brings switched on, knows nothing of our port."""
    outside = settings.exposed
    if not (outside or settings.fabric):
        return []
    opened = [f"ufw allow proto tcp to any port {settings.open_port}"] if outside else []
    found = check(
        "ufw",
        None if snapshot.ufw is None else not snapshot.ufw,
        "active, it may block the API port" if outside else "active, it may block the fabric",
        wanted="not active, or opened for it",
        remedy="; ".join([*opened, *(["ufw allow in on NETDEV"] if settings.fabric else [])]),
        level="warn",
    )
    return [found]
