"""The shared model cache: exported by one host if asked, mounted by the others."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.deploy import deploy

from deploys.host_state import Watch
from deploys.operations import Directory, File, tree
from deploys.packages import present
from deploys.report import RUN
from deploys.units import running
from fleet import nfs
from fleet.preflight_nfs import mounts
from fleet.settings import Settings


def watch(settings: Settings) -> Watch:
    if settings.cache is None:
        return Watch()
    if not mounts(settings):
        return Watch(
            files=(nfs.EXPORTS, settings.hub), packages=(nfs.SERVER,), units=(nfs.SERVER_UNIT,)
        )
    files = nfs.mount_files(settings.cache, settings.models_dir)
    unit = nfs.unit_name(settings.models_dir)
    return Watch(files=tuple(files), packages=(nfs.CLIENT,), units=(unit,))


def request(settings: Settings) -> dict[str, object] | None:
    """What the snapshot is asked about the mount."""
    if settings.cache is None or not mounts(settings):
        return None
    server, _ = nfs.source(settings.cache)
    return {"server": server, "port": nfs.PORT, "where": settings.models_dir}


def fills(settings: Settings) -> bool:
    """Whether this host brings models into its cache; of those that share one, only one does."""
    if settings.cache is None:
        return True
    from deploys import engine  # it imports the steps

    sharing = [n for n in RUN.results if engine.SETTINGS[n].cache == settings.cache]
    first = settings.cache_server if settings.cache_server in sharing else sharing[0]
    return host.name == first


@deploy("Shared cache")
def run(*, settings: Settings) -> None:
    if settings.cache is None:
        return
    if mounts(settings):
        _mounted(settings, settings.cache)
    else:
        _exported(settings)


def _mounted(settings: Settings, cache: str) -> None:
    present(name="Install the NFS client", settings=settings, packages={nfs.CLIENT: None})
    files = nfs.mount_files(cache, settings.models_dir)
    unit = nfs.unit_name(settings.models_dir)
    tree(
        name="Write the mount",
        settings=settings,
        files={path: File(text) for path, text in files.items()},
        units=(unit, "vllm.service"),
    )
    running(name="Mount the cache", settings=settings, units={unit: ()})


def _exported(settings: Settings) -> None:
    present(name="Install the NFS server", settings=settings, packages={nfs.SERVER: None})
    tree(
        name="Export the cache",
        settings=settings,
        files={nfs.EXPORTS: File(nfs.exports(settings.models_dir, settings.cache_clients))},
        directories={settings.hub: Directory()},
        then=("exportfs -ra",),
    )
    running(name="Run the NFS server", settings=settings, units={nfs.SERVER_UNIT: ()})
