"""The serving image, present by digest before anything stops."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import bundle, engine, image_fanout, sharing
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
    image = settings.vllm_image
    same = [name for name in sharing.serving() if engine.SETTINGS[name].vllm_image == image]
    yield from fetched(settings, image, same)


def fetched(settings: Settings, image: str, among: Sequence[str]) -> Commands:
    """Commands after which the current host has ``image``, as the hosts ``among`` which it is."""
    with sharing.waited_for(host.name):
        now = current(settings).docker
    if now.error:
        sharing.leave(host.name)
        yield refuse(f"Docker does not answer: {now.error}; deploy.py starts it")
        return
    lacks = image not in now.images
    needy: list[str] = []
    if state.is_executing and image_fanout.wanted(settings, image):
        needy = image_fanout.in_need(host.name, image, among, lacks=lacks)
    if not lacks:
        host.noop(f"{image} is present")
        return
    forget()
    pull = job("pull", ["docker", "pull", image], deadline_s=PULL_DEADLINE_S)
    reach = [each for each in bundle.reach(settings) if isinstance(each, FunctionCommand)]
    if len(needy) > 1:
        yield image_fanout.share(settings, image, needy, [*reach, pull])
    else:
        yield from [*reach, pull]


@deploy("Image")
def run(*, settings: Settings) -> None:
    pulled(name="Pull the serving image by digest", settings=settings)
