"""The serving image, present by digest before anything stops."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import bundle
from deploys.host_state import Watch, current, forget
from deploys.job import job
from deploys.operations import Commands, refuse
from fleet.settings import Settings

PULL_DEADLINE_S = 6 * 3600  # 20 GB at 8 Mbit/s; a second run joins a pull that goes on


def watch(settings: Settings) -> Watch:
    return Watch(images=(settings.vllm_image,), disks=("/var/lib/docker",))


@operation()
def pulled(settings: Settings) -> Commands:
    """The image is in the host's store under its digest."""
    now = current(settings).docker
    if now.error:
        yield refuse(f"Docker does not answer: {now.error}; deploy.py starts it")
        return
    if settings.vllm_image in now.images:
        host.noop(f"{settings.vllm_image} is present")
        return
    forget()
    yield from bundle.reach(settings)
    yield job("pull", ["docker", "pull", settings.vllm_image], deadline_s=PULL_DEADLINE_S)


@deploy("Image")
def run(*, settings: Settings) -> None:
    pulled(name="Pull the serving image by digest", settings=settings)
