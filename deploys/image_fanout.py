"""One host takes an image from its registry, the others get its layers from it. docs/images.md"""

from __future__ import annotations

import json
from collections.abc import Sequence

import layout
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploys import engine, remote, sharing
from deploys.gathering import Gathering
from deploys.operations import File, tell
from deploys.report import RUN
from fleet import registry
from fleet.preflight_room import GIB
from fleet.settings import Settings

_needs: dict[str, Gathering[bool]] = {}
_addresses: dict[str, Gathering[str]] = {}


def wanted(settings: Settings, image: str) -> bool:
    """Whether hosts of this run share images. One whose name has a tag is left to Docker."""
    return settings.fan_out and len(sharing.running()) > 1 and not _tagged(image)


def in_need(host: str, image: str, among: Sequence[str], *, lacks: bool) -> list[str]:
    """The hosts of ``among`` that lack the image, once all of them have told."""
    if image not in _needs:
        members = [name for name in among if wanted(engine.SETTINGS[name], image)]
        _needs[image] = Gathering(members, sharing.lost)
    told = _needs[image].tell(host, lacks)
    return [name for name, lacking in told.items() if lacking]


def share(
    settings: Settings, image: str, needy: Sequence[str], pull: Sequence[FunctionCommand]
) -> FunctionCommand:
    """A command after which the host has the image, as have the others of ``needy``. ``pull``: what
    the host does without them, the pull itself last."""
    if image not in _addresses:
        _addresses[image] = Gathering(list(needy), sharing.lost)
    *reach, last = pull

    def take(state: State, host: Host) -> bool:
        with sharing.waited_for(host.name):
            try:
                reached = all(_done(state, host, each) for each in reach)
                own = sharing.address(host)
            except (remote.Refused, remote.Lost) as error:
                reached = False
                tell(host, f"fan-out: {error}")
            if not reached:
                sharing.leave(host.name)
                return _itself(state, host, pull)
            addresses = _addresses[image].tell(host.name, own)
        part = _part(settings, image, addresses)
        return _done(state, host, part) or _itself(state, host, [last])

    return FunctionCommand(take, (), {})


def _itself(state: State, host: Host, pull: Sequence[FunctionCommand]) -> bool:
    """Without the others, after that went wrong."""
    if not host.connected:
        return False
    host.log(f"pulls from the registry itself: {RUN.of(host.name).reason}")
    RUN.of(host.name).reason = ""
    return all(_done(state, host, each) for each in pull)


def _done(state: State, host: Host, command: FunctionCommand) -> bool:
    return bool(command.function(state, host, *command.args, **command.kwargs))


def _part(settings: Settings, image: str, addresses: dict[str, str]) -> FunctionCommand:
    """What the host itself does. The source is the one that built the image, else the first."""
    builder = settings.image_builder
    first = builder if builder in addresses else next(iter(addresses))
    members = [
        sharing.member(name, address, origin=name == first) for name, address in addresses.items()
    ]
    place = layout.IMAGES / image.rpartition(":")[2]
    paths = (f"{place}.json", f"{place}.links.json")
    files = {paths[0]: File(json.dumps(_request(settings, image, str(place)), sort_keys=True))}
    secret, after = _addresses[image].secret, ["--clean"]
    return sharing.part(settings, "take_image", paths, files, members, secret, after)


def _request(settings: Settings, image: str, folder: str) -> dict[str, object]:
    """What ``files/take_image.py`` reads."""
    found = registry.pinned(image)
    ours = found.host == settings.image_registry
    return {
        "image": image,
        "registry": f"http://{found.host}" if ours else found.base,
        "repository": found.repository,
        "digest": found.tag,
        "folder": folder,
        "room": int(settings.image_gib * GIB),
    }


def _tagged(image: str) -> bool:
    return ":" in image.partition("@")[0].rpartition("/")[2]
