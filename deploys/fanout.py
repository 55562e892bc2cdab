"""One host takes a model from the Hub, the others take it from each other. docs/weights.md"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import layout
from pyinfra import host, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import engine, job, model, programs, remote
from deploys.gathering import Gathering
from deploys.host_state import current, forget
from deploys.job import Job
from deploys.operations import Commands, File, tell
from deploys.report import RUN
from fleet import fanout
from fleet.fanout import Member
from fleet.models import ModelLock
from fleet.preflight_room import lacking
from fleet.settings import Settings

SOURCES = 2  # hosts that try to take a model from the Hub
TAKE_DEADLINE_S = 48 * 3600  # as a download: a second run goes on where this one was


@dataclass(frozen=True)
class Offer:
    """What a host tells the others: its address for them, and how many bytes it misses."""

    address: str
    lacks: int
    whole: bool


_gatherings: dict[str, Gathering[Offer]] = {}
_left: set[str] = set()  # hosts that nobody waits for any more; pyinfra tells only afterwards


@contextmanager
def _waited_for(name: str) -> Iterator[None]:
    """The others wait for this host meanwhile, unless it fails."""
    try:
        yield
    except BaseException:
        _left.add(name)
        raise


def wanted(settings: Settings) -> bool:
    """Whether hosts of this run share what they serve."""
    return settings.fan_out and settings.cache is None and len(RUN.results) > 1


def _members(lock: ModelLock) -> list[str]:
    active = {each.name for each in state.active_hosts}
    return [
        name
        for name in RUN.results
        if name in active and wanted(engine.SETTINGS[name]) and lock in engine.SETTINGS[name].locks
    ]


def _gathering(key: str, lock: ModelLock) -> Gathering[Offer]:
    """The one of this step and model that all hosts of the run share."""
    name = f"{key} {lock.repo}"
    if name not in _gatherings:
        _gatherings[name] = Gathering(
            _members(lock), lambda: _left | {each.name for each in state.failed_hosts}
        )
    return _gatherings[name]


def _offer(settings: Settings, lock: ModelLock) -> Offer:
    now = current(settings)
    size = sum(file.size for file in lacking(lock, now))
    return Offer("", size, model.whole(settings, lock, now))


@operation()
def shared(settings: Settings, lock: ModelLock) -> Commands:
    """Every host of the run has the model; at most one of them took it from the Hub.

    One operation, because a host that fails ends the run for all after the operation.
    """
    with _waited_for(host.name):
        own = _offer(settings, lock)
    if not state.is_executing:
        if own.whole:
            host.noop("the model is whole")
            return
        RUN.plan[host.name] = [f"take {lock.repo} from another host; one takes it from the Hub"]
    else:
        offers = _gathering("offers", lock).tell(host.name, own)
        if all(offer.whole for offer in offers.values()):
            host.noop("every host has it")
            return
        forget()
    yield FunctionCommand(_share, (settings, lock, own), {})


def _share(state: State, host: Host, settings: Settings, lock: ModelLock, own: Offer) -> bool:
    """One host's part: to be the source, if it is, then to take or give."""
    with _waited_for(host.name):
        try:
            own = replace(own, address=_address(host))
        except (remote.Refused, remote.Lost) as error:
            _left.add(host.name)
            return tell(host, f"fan-out: {error}")
        offers = _gathering("addresses", lock).tell(host.name, own)
        offers = _sourced(state, host, settings, lock, offers)
    if not any(offer.whole for offer in offers.values()):
        return tell(host, f"{lock.repo}: no host could take it from the Hub")
    done = _take_part(state, host, settings, lock, offers)
    if done:
        RUN.of(host.name).reason = ""  # what it could not have from the Hub it has from others
    return done


def _address(host: Host) -> str:
    """Where the host is reached by us, as it knows it itself."""
    command = programs.with_siblings("own_address", {})
    answer = remote.parse(remote.insist(host, command, patience_s=job.PATIENCE_S))
    if not answer["address"]:
        raise remote.Refused("found no trace of our own SSH connection; connect by SSH")
    return str(answer["address"])


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
        Member(name, offer.address, _fabric(name), offer.whole) for name, offer in offers.items()
    ]
    own = next(member for member in members if member.name == host.name)
    links = asdict(fanout.links(own, members))
    secret = _gathering("addresses", lock).secret
    text = {**links, "port": settings.fan_out_port, "secret": secret}
    path = str(layout.MODELS / lock.folder / f"{lock.revision}.links.json")
    links_file = File(json.dumps(text, sort_keys=True), mode="600", secret=True)
    argv = ["/usr/bin/python3", str(layout.PROGRAMS / "take_model.py")]
    argv += [model.request_path(lock), path]
    files = {**model.request_files(settings, lock), path: links_file}
    part = Job("fan-out", argv, TAKE_DEADLINE_S, files, serves=True)
    return bool(job.run(part).function(state, host))


def _fabric(name: str) -> tuple[str, ...]:
    cabled = engine.SETTINGS[name].fabric
    return cabled.addresses if cabled else ()


def run(*, settings: Settings) -> None:
    """Inside the step Model."""
    for lock in settings.locks:
        shared(name=f"Pass {lock.repo} from host to host", settings=settings, lock=lock)
