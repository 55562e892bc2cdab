"""The folders that outlive releases, and the programs that run on the host."""

from __future__ import annotations

import functools

import layout
from pyinfra.api.deploy import deploy

from deploys import programs
from deploys.host_state import Watch
from deploys.operations import Directory, File, tree
from fleet.settings import Settings

# These travel on stdin and are never installed.
BY_STDIN = {
    "answers",
    "auth_probe",
    "built_image",
    "check_arguments",
    "check_repository",
    "fetched",
    "front_door",
    "gateway",
    "golden",
    "haproxy_config",
    "prepare_login",
    "install_packages",
    "job",
    "own_address",
    "own_files",
    "prometheus_state",
    "prove",
    "remove",
    "snapshot",
    "status",
    "thing",
    "unneeded",
    "write_files",
}


# Of the facts, what installed programs read.
READ_THERE = {"facts", "facts_driver", "facts_fabric"}


@functools.cache
def files() -> dict[str, File]:
    """The host programs and the unit, by path."""
    names = sorted(path.stem for path in programs.FILES.glob("*.py"))
    programs_by_path = {
        str(layout.PROGRAMS / f"{name}.py"): File(programs.source(name))
        for name in names
        if name not in BY_STDIN and (not name.startswith("facts") or name in READ_THERE)
    }
    unit = (programs.FILES / layout.UNIT).read_text()
    return {**programs_by_path, str(layout.UNIT_FILE): File(unit)}


def directories(settings: Settings) -> dict[str, Directory]:
    return {
        settings.hub: Directory(),
        str(layout.RELEASES): Directory(),
        str(layout.PROGRAMS): Directory(),
        str(layout.STATE): Directory(),
        str(layout.CACHE): Directory(owner=""),  # serve.py gives it to the server
        str(layout.AUDIT.parent): Directory(),
    }


def watch(settings: Settings) -> Watch:
    return Watch(files=(*files(), *directories(settings)), disks=(settings.hub,))


@deploy("Cache")
def run(*, settings: Settings) -> None:
    tree(
        name="Lay out the folders and the host programs",
        settings=settings,
        files=files(),
        directories=directories(settings),
        units=(layout.UNIT,),
    )
