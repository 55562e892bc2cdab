"""One host takes a model from the Hub, the others take it from each other. docs/weights.md"""

from __future__ import annotations

from dataclasses import dataclass, replace

import layout
from pyinfra import host, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import engine, model, remote, sharing
from deploys.gathering import Gathering
from deploys.host_state import current, forget
from deploys.operations import Commands, tell
from deploys.report import RUN
from fleet import fanout, preflight_room
from fleet.models import ModelLock
from fleet.settings import Settings

SOURCES = 2  # hosts that try to take a model from the Hub for all


@dataclass(frozen=True)
class Offer:
    """What a host tells the others: its address for them, and how many bytes it misses."""

    address: str
    lacks: int
    whole: bool


_gatherings: dict[str, Gathering[Offer]] = {}


def wanted(settings: Settings) -> bool:
    """Whether hosts of this run share the models they serve."""
    return settings.fan_out and settings.cache is None and len(sharing.serving()) > 1


def _members(lock: ModelLock) -> list[str]:
    return [
        name
        for name in sharing.serving()
        if wanted(engine.SETTINGS[name]) and lock in engine.SETTINGS[name].locks
    ]


def _gathering(key: str, lock: ModelLock) -> Gathering[Offer]:
    """The one of this step and model that all hosts of the run share."""
    name = f"{key} {lock.repo}@{lock.revision}"
    if name not in _gatherings:
        _gatherings[name] = Gathering(_members(lock), sharing.lost)
    return _gatherings[name]


def _offer(settings: Settings, lock: ModelLock) -> Offer:
    now = current(settings)
    size = sum(file.size for file in preflight_room.lacking(lock, now))
    return Offer("", size, model.whole(settings, lock, now))


@operation()
def shared(settings: Settings) -> Commands:
    """Every host of the run has its models; at most one of them took each from the Hub.

    One operation for all models, because hosts wait for each other inside it, and pyinfra starts
    none before all hosts have ended the one before. All take the models in one order.
    """
    with sharing.waited_for(host.name):
        own = [(lock, _offer(settings, lock)) for lock in _in_order(settings)]
    lacking = [(lock, offer) for lock, offer in own if not offer.whole]
    if not state.is_executing:
        RUN.plan[host.name] = [_plan(lock, offer) for lock, offer in lacking]
    moved = False
    for lock, offer in own if state.is_executing else lacking:
        if state.is_executing:
            offers = _gathering("offers", lock).tell(host.name, offer)
            if all(each.whole for each in offers.values()):
                continue
            forget()
        moved = True
        yield FunctionCommand(_share, (settings, lock, offer), {})
    if not moved:
        host.noop("every host has it")


def _in_order(settings: Settings) -> list[ModelLock]:
    return sorted(settings.locks, key=lambda lock: (lock.repo, lock.revision))


def _plan(lock: ModelLock, own: Offer) -> str:
    """What a person should know before it begins."""
    size = f"{own.lacks / 2**20:.1f} MiB"
    return f"fetch {lock.repo}: {size}, one host of the run from the Hub, the others from it"


def _share(state: State, host: Host, settings: Settings, lock: ModelLock, own: Offer) -> bool:
    """One host's part: to be the source, if it is, then to take or give."""
    with sharing.waited_for(host.name):
        try:
            own = replace(own, address=sharing.address(host))
        except (remote.Refused, remote.Lost) as error:
            sharing.leave(host.name)
            host.log(f"takes {lock.repo} from the Hub itself: {error}")
            return _downloaded(state, host, settings, lock)
        offers = _gathering("addresses", lock).tell(host.name, own)
        offers = _sourced(state, host, settings, lock, offers)
    if any(offer.whole for offer in offers.values()):
        done = _take_part(state, host, settings, lock, offers)
    else:
        done = tell(host, f"{lock.repo}: no host could take it from the Hub")
    done = done or offers[host.name].whole  # that it cannot give is the others' loss
    if not done and host.connected:
        host.log(f"takes {lock.repo} from the Hub itself: {RUN.of(host.name).reason}")
        RUN.of(host.name).reason = ""
        done = _downloaded(state, host, settings, lock)
    if done:
        RUN.of(host.name).reason = ""  # what it could not have the one way it has the other way
    else:
        sharing.leave(host.name)  # the others do not wait for it at the next model
    return done


def _sourced(
    state: State, host: Host, settings: Settings, lock: ModelLock, offers: dict[str, Offer]
) -> dict[str, Offer]:
    """The offers once a host has the model, if one of the first two could take it from the Hub."""
    tried: list[str] = []
    while not any(offer.whole for offer in offers.values()) and len(tried) < SOURCES:
        lacks = {name: offer.lacks for name, offer in offers.items() if name not in tried}
        if not lacks:
            break
        chosen = fanout.source(lacks)
        tried.append(chosen)
        own = offers[host.name]
        if chosen == host.name:
            host.log(f"takes {lock.repo} from the Hub for {len(offers)} hosts")
            own = replace(own, whole=_downloaded(state, host, settings, lock))
        offers = _gathering(f"source {len(tried)}", lock).tell(host.name, own)
    return offers


def _downloaded(state: State, host: Host, settings: Settings, lock: ModelLock) -> bool:
    commands = [c for c in model.from_hub(settings, lock) if isinstance(c, FunctionCommand)]
    return all(bool(c.function(state, host, *c.args, **c.kwargs)) for c in commands)


def _take_part(
    state: State, host: Host, settings: Settings, lock: ModelLock, offers: dict[str, Offer]
) -> bool:
    """As a unit that outlives the connection; True once this host has the model."""
    members = [
        sharing.member(name, offer.address, whole=offer.whole) for name, offer in offers.items()
    ]
    links = str(layout.MODELS / lock.folder / f"{lock.revision}.links.json")
    paths = (model.request_path(lock), links)
    secret = _gathering("addresses", lock).secret
    files = model.request_files(settings, lock)
    command = sharing.part(settings, "take_model", paths, files, members, secret)
    return bool(command.function(state, host))


def run(*, settings: Settings) -> None:
    """Inside the step Model."""
    shared(name="Pass models from host to host", settings=settings)
