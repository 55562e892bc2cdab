"""One host takes a model from the Hub, the others take it from each other. docs/weights.md"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

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
from deploys.operations import Commands, File, refuse, tell
from deploys.report import RUN
from fleet import fanout
from fleet.fanout import Member
from fleet.models import ModelLock
from fleet.preflight_room import lacking
from fleet.settings import Settings

TAKE_DEADLINE_S = 48 * 3600  # as a download: a second run goes on where this one was


@dataclass(frozen=True)
class Offer:
    """What a host tells the others: its address for them, and how many bytes it misses."""

    address: str
    lacks: int
    whole: bool


_gatherings: dict[str, Gathering[Offer]] = {}


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
            _members(lock), lambda: {each.name for each in state.failed_hosts}
        )
    return _gatherings[name]


def _offer(settings: Settings, lock: ModelLock, address: str = "") -> Offer:
    now = current(settings)
    size = sum(file.size for file in lacking(lock, now))
    return Offer(address, size, model.whole(settings, lock, now))


@operation()
def sourced(settings: Settings, lock: ModelLock, attempt: int) -> Commands:
    """One host of the run has the model, whole; it comes from the Hub where none had it."""
    own = _offer(settings, lock)
    if not state.is_executing:
        if own.whole:
            host.noop("the model is whole")
        elif attempt == 1:
            size = lock.size / 2**20
            RUN.plan[host.name] = [f"take {lock.repo}, {size:.1f} MiB: one host from the Hub"]
            yield from model.from_hub(settings, lock)
        return
    offers = _gathering(f"source {attempt}", lock).tell(host.name, own)
    if any(offer.whole for offer in offers.values()):
        host.noop("a host has it")
        return
    chosen = fanout.source({name: offer.lacks for name, offer in offers.items()})
    if chosen != host.name:
        host.noop(f"{chosen} takes it from the Hub")
        return
    forget()
    yield from model.from_hub(settings, lock)


@operation()
def spread(settings: Settings, lock: ModelLock) -> Commands:
    """Every host of the run that lacks the model takes it from the others."""
    own = _offer(settings, lock)
    if not state.is_executing:
        host.noop("told with the source")
        return
    gathering = _gathering("spread", lock)
    offers = gathering.tell(host.name, own)
    if all(offer.whole for offer in offers.values()):
        host.noop("every host has it")
        return
    if not any(offer.whole for offer in offers.values()):
        yield refuse(f"{lock.repo}: no host of the run could take it from the Hub; see above")
        return
    forget()
    yield FunctionCommand(_take_part, (settings, lock, own.whole), {})


def _take_part(state: State, host: Host, settings: Settings, lock: ModelLock, has: bool) -> bool:
    gathering = _gathering("addresses", lock)
    try:
        command = programs.with_siblings("own_address", {})
        answer = remote.parse(remote.insist(host, command, patience_s=job.PATIENCE_S))
        address = str(answer["address"] or "")
    except (remote.Refused, remote.Lost) as error:
        gathering.tell(host.name, Offer("", 0, False))
        return tell(host, f"fan-out: {error}")
    offers = gathering.tell(host.name, Offer(address, 0, has))
    if not address:
        return tell(host, "fan-out: found no trace of our own SSH connection; connect with SSH")
    members = [
        Member(name, offer.address, _fabric(name), offer.whole)
        for name, offer in offers.items()
        if offer.address
    ]
    own = next(member for member in members if member.name == host.name)
    links = fanout.links(own, members)
    text = {**asdict(links), "port": settings.fan_out_port, "secret": gathering.secret}
    return _run(state, host, settings, lock, json.dumps(text, sort_keys=True))


def _fabric(name: str) -> tuple[str, ...]:
    cabled = engine.SETTINGS[name].fabric
    return cabled.addresses if cabled else ()


def _run(state: State, host: Host, settings: Settings, lock: ModelLock, links: str) -> bool:
    """The host's part, as a unit that outlives the connection."""
    path = str(layout.MODELS / lock.folder / f"{lock.revision}.links.json")
    files = {**model.request_files(settings, lock), path: File(links, mode="600", secret=True)}
    argv = ["/usr/bin/python3", str(layout.PROGRAMS / "take_model.py")]
    argv += [model.request_path(lock), path]
    part = Job("fan-out", argv, TAKE_DEADLINE_S, files, serves=True)
    follow = job.run(part).function
    return bool(follow(state, host))


def run(*, settings: Settings) -> None:
    """Inside the step Model."""
    for lock in settings.locks:
        for attempt, said in ((1, "on one host"), (2, "on another one if that one failed")):
            sourced(name=f"Have {lock.repo} {said}", settings=settings, lock=lock, attempt=attempt)
        spread(name=f"Pass {lock.repo} from host to host", settings=settings, lock=lock)
