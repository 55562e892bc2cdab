"""Preflight: the shared model cache."""

from __future__ import annotations

from fleet import nfs
from fleet.preflight_finding import Finding, check
from fleet.settings import Settings
from fleet.snapshot import Snapshot


def mounts(settings: Settings) -> bool:
    """Whether the host is to mount the cache; the one that exports it has it."""
    return settings.cache is not None and settings.cache_server != settings.host


def shared_cache(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """A dead server is told before anything that would wait for it."""
    if settings.cache is None or not mounts(settings):
        return []
    server, path = nfs.source(settings.cache)
    found = snapshot.nfs
    reachable = check(
        "cache",
        found.answers,
        f"no answer from {server} on TCP {nfs.PORT}",
        wanted="an NFS server",
        remedy=f"see that {server} is up and exports {path}, and that nothing blocks the port",
        # A server of the fleet's own may be set up by this very run.
        level="warn" if settings.cache_server and not found.source else "blocked",
    )
    if found.source is None:
        return [reachable]
    silent = "" if found.usable else ", which does not answer"
    mounted = check(
        "cache mount",
        found.source == f"{server}:{path}" and found.usable,
        f"{settings.models_dir} is {found.source}{silent}",
        wanted=f"{server}:{path}, answering",
        remedy=f"mend the server, or: umount {settings.models_dir}",
    )
    return [reachable, mounted]
