"""Our own image: built on one host, served by it, pulled by every host under its digest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import layout
from pyinfra import host, state
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import cache, programs, remote
from deploys.host_state import Watch, current, forget
from deploys.image import PULL_DEADLINE_S
from deploys.job import job
from deploys.operations import Commands, Directory, File, refuse, tell, tree, write_command
from deploys.packages import held, present
from deploys.units import running
from fleet import images
from fleet.host_packages import installed
from fleet.images import Build
from fleet.problems import SettingsError
from fleet.settings import Settings

BUILD_DEADLINE_S = 12 * 3600  # compiling vLLM took 1 to 4 h on GB10; a second run joins a build
REGISTRY, BUILDX = "docker-registry", "docker-buildx-plugin"
UNIT_FILE, CONFIG = str(layout.REGISTRY_UNIT_FILE), str(layout.REGISTRY_CONFIG)


@dataclass
class Built:
    """What the builder has, for the other hosts of the run."""

    reference: str = ""


BUILT = Built()


def builds(settings: Settings) -> bool:
    return settings.image_builder == settings.host


def watch(settings: Settings) -> Watch:
    if not builds(settings):
        return Watch()
    program = str(layout.PROGRAMS / "build_image.py")
    return Watch(
        files=(UNIT_FILE, CONFIG, program),
        packages=(REGISTRY, BUILDX),
        units=(layout.REGISTRY_UNIT,),
    )


@operation()
def closed(settings: Settings) -> Commands:
    """The package's own unit, which would let all the world push, is never started."""
    if installed(current(settings), REGISTRY):
        host.noop("the package is installed; its own unit is as its owner wants it")
        return
    forget()
    yield StringCommand("systemctl", "mask", "--quiet", "docker-registry.service")


@operation()
def built(settings: Settings, build: Build) -> Commands:
    """The registry has the image of these very inputs."""
    if _learn(host, settings, build):
        host.noop(f"{build.name} {build.key} is built")
        return
    if problem := _no_room(settings):
        yield refuse(problem)
        return
    folder = layout.BUILDS / build.key
    forget()
    yield _write(build, folder)
    argv = ["/usr/bin/python3", str(layout.PROGRAMS / "build_image.py")]
    yield job("build", [*argv, str(folder / "request.json")], deadline_s=BUILD_DEADLINE_S)
    yield FunctionCommand(_tell_built, (settings, build), {})


def _no_room(settings: Settings) -> str:
    """A build beside a server that holds the memory would freeze the machine."""
    found = (current(settings).host.meminfo or {}).get("MemAvailable", 0) / 2**20
    wanted = settings.image_build_memory_gib
    if found >= wanted:
        return ""
    return (
        f"image_build_memory_gib: found {found:.1f} GiB available, wanted {wanted:.1f}; stop what "
        "serves there (systemctl stop vllm), or lower MAX_JOBS and this setting"
    )


def _write(build: Build, folder: Path) -> StringCommand:
    """The build folder, and what ``files/build_image.py`` reads."""
    context = folder / "context"
    request = {
        "context": str(context),
        "name": build.name,
        "key": build.key,
        "args": dict(build.args),
        "store": str(layout.REGISTRY_STORE),
        "record": str(_record(build)),
    }
    texts = {str(context / path): text for path, text in build.files.items()}
    texts[str(folder / "request.json")] = json.dumps(request, sort_keys=True)
    folders = {layout.BUILDS, *(Path(name).parent for name in texts)}
    return write_command(
        {path: File(text) for path, text in texts.items()},
        {str(path): Directory() for path in folders},
    )


def _record(build: Build) -> Path:
    return layout.BUILDS / f"{build.key}.json"


def _learn(host: Host, settings: Settings, build: Build) -> bool:
    """Ask the builder for the image; where it has one, say how to serve it."""
    request = {"record": str(_record(build)), "registry": settings.image_registry,
               "name": build.name}  # fmt: skip
    digest = remote.ask(host, "built_image", request)["digest"]
    BUILT.reference = f"{settings.image_registry}/{build.name}@{digest}" if digest else ""
    if digest and state.is_executing:
        host.log(f'to serve it, put into group_data: vllm_image = "{BUILT.reference}"')
    return bool(digest)


def _tell_built(state: State, host: Host, settings: Settings, build: Build) -> bool:
    if _learn(host, settings, build):
        return True
    return tell(
        host,
        f"{layout.REGISTRY_UNIT}: found no {build.name} {build.key} at {settings.image_registry} "
        f"after its build; see journalctl -u {layout.REGISTRY_UNIT}",
    )


@operation()
def pulled(settings: Settings) -> Commands:
    """The host has the built image under its digest."""
    reference = BUILT.reference
    if not reference and state.is_executing:
        yield refuse(
            f"image_builder: {settings.image_builder} has built no image in this run; "
            "run without --limit"
        )
        return
    if reference in current(settings).docker.images:
        host.noop(f"{reference} is present")
        return
    forget()
    yield job("pull", ["docker", "pull", reference], deadline_s=PULL_DEADLINE_S)


def checked(settings: Settings, hosts: list[str]) -> Build:
    """The build that the settings ask for; DeployError, before any change, names each mistake."""
    if settings.image_builder not in hosts:
        raise DeployError(
            f"image_builder: found {settings.image_builder!r}, allowed: a host of the inventory: "
            + ", ".join(hosts)
        )
    try:
        return images.build(settings)
    except SettingsError as error:
        raise DeployError("\n".join(error.problems)) from None


@deploy("Build")
def run(*, settings: Settings) -> None:
    build = checked(settings, [each.name for each in host.inventory])
    if builds(settings):
        closed(name="Keep the registry's own unit off", settings=settings)
        present(
            name="Install registry and builder",
            settings=settings,
            packages={REGISTRY: None, BUILDX: None},
        )
        if settings.hold_packages:
            held(name="Hold the builder", settings=settings, packages=(BUILDX,))
        _serve(settings)
        built(name="Build the image", settings=settings, build=build)
    pulled(name="Pull the built image by digest", settings=settings)


def _serve(settings: Settings) -> None:
    program = str(layout.PROGRAMS / "build_image.py")
    durable = str(layout.PROGRAMS / "durable.py")
    text = images.registry_config(settings, str(layout.REGISTRY_STORE))
    tree(
        name="Lay out the registry",
        settings=settings,
        files={
            **{path: cache.files()[path] for path in (program, durable)},
            UNIT_FILE: File((programs.FILES / layout.REGISTRY_UNIT).read_text()),
            CONFIG: File(text),
        },
        directories=cache.directories(settings),
        units=(layout.REGISTRY_UNIT,),
    )
    files = (UNIT_FILE, CONFIG)
    running(name="Run the registry", settings=settings, units={layout.REGISTRY_UNIT: files})
