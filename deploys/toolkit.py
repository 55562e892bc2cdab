"""NVIDIA Container Toolkit: CDI devices for the loaded driver, and the proof in a container."""

from __future__ import annotations

import json

import layout
from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, differing, refuse, write_command
from deploys.packages import defined, held, present, repository_files
from fleet import host_files, host_packages
from fleet.preflight_machine import platform
from fleet.settings import Settings
from fleet.snapshot import Snapshot

REFRESH = "nvidia-cdi-refresh.service"
SPEC = "/run/cdi/nvidia.yaml"
PROOF = str(layout.STATE / "gpu-proof.json")


def watch(settings: Settings) -> Watch:
    return Watch(
        files=(*repository_files(host_files.container_toolkit(settings)), PROOF),
        packages=host_packages.TOOLKIT,
        units=(REFRESH,),
    )


def fresh(snapshot: Snapshot) -> bool:
    """A CDI spec lists all GPUs, and its libraries are those of the loaded driver."""
    loaded = snapshot.driver.loaded
    specs = [spec for spec in snapshot.docker.cdi.values() if "all" in spec.devices]
    return bool(specs) and all(spec.drivers == [loaded] for spec in specs)


@operation()
def devices(settings: Settings) -> Commands:
    """CDI devices as the loaded driver has them."""
    now = current(settings)
    if fresh(now):
        host.noop("the CDI devices fit the driver")
        return
    if foreign := [path for path in now.docker.cdi if path.startswith("/etc/cdi/")]:
        names = ", ".join(foreign)
        yield refuse(
            f"CDI: found {names} for another driver than {now.driver.loaded}; it doubles {SPEC}, "
            f"which is kept fresh: rm {names}"
        )
        return
    forget()
    unit = now.units.get(REFRESH)
    if unit and unit.LoadState == "loaded":
        yield StringCommand("systemctl", "restart", REFRESH)
    else:
        yield StringCommand("nvidia-ctk", "cdi", "generate", f"--output={SPEC}")
    if not fresh(current(settings)):
        yield refuse(
            f"CDI: {SPEC} does not list the GPU with driver {now.driver.loaded}; "
            f"'journalctl -u {REFRESH}' on the host tells why"
        )


def proof(settings: Settings, snapshot: Snapshot) -> str:
    """What a proof is worth: it holds as long as none of this changes."""
    facts = {
        "driver": snapshot.driver.loaded,
        "toolkit": host_packages.installed(snapshot, "nvidia-container-toolkit-base"),
        "docker": snapshot.docker.version,
        "image": settings.vllm_image,
    }
    return json.dumps(facts, sort_keys=True) + "\n"


@operation()
def lists_gpu(settings: Settings) -> Commands:
    """A container of the serving image was seen to list the GPU."""
    now = current(settings)
    files = {PROOF: File(proof(settings, now))}
    if not differing(now, files):
        host.noop("proved for this driver, toolkit, Docker and image")
        return
    forget()
    yield StringCommand(
        "docker run --rm --network none --device nvidia.com/gpu=all --entrypoint nvidia-smi",
        QuoteString(settings.vllm_image),
        "-L | grep '^GPU 0:'",
    )
    yield write_command(files)


@deploy("Container toolkit")
def run(*, settings: Settings) -> None:
    packages = host_packages.toolkit(settings)
    if platform(current(settings)) == "ubuntu":
        repository = host_files.container_toolkit(settings)
        defined(name="Define the toolkit's repository", settings=settings, repository=repository)
        present(name="Install the container toolkit", settings=settings, packages=packages)
    devices(name="Make CDI devices for the loaded driver", settings=settings)
    if settings.hold_packages:
        held(name="Hold the container toolkit", settings=settings, packages=packages)


@deploy("GPU in a container")
def prove(*, settings: Settings) -> None:
    """After the image is on the host."""
    lists_gpu(name="See the GPU from a container", settings=settings)
