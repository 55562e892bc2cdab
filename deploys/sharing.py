"""What the hosts of a fan-out tell each other, and the unit that takes one host's part in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import layout
from pyinfra import state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host

from deploys import engine, job, members, programs, remote
from deploys.job import Job
from deploys.operations import File
from deploys.report import RUN
from fleet import fanout
from fleet.fanout import Member
from fleet.settings import Settings

TAKE_DEADLINE_S = 48 * 3600  # as a download: a second run goes on where this one was

_left: set[str] = set()  # hosts that nobody waits for any more; pyinfra tells only afterwards


@contextmanager
def waited_for(name: str) -> Iterator[None]:
    """The others wait for this host meanwhile, unless it fails."""
    try:
        yield
    except BaseException:
        leave(name)
        raise


def leave(name: str) -> None:
    """Nobody waits for this host from now on."""
    _left.add(name)


def running() -> list[str]:
    """The hosts of the run that are not given up, in inventory order."""
    active = {each.name for each in state.active_hosts}
    return [name for name in RUN.results if name in active]


def serving() -> list[str]:
    """Those of them that get a model and an image: not the ones that are gateways alone."""
    return [name for name in running() if name in members.SERVING]


def lost() -> set[str]:
    """The hosts that a gathering does not wait for."""
    return _left | {each.name for each in state.failed_hosts}


def address(host: Host) -> str:
    """Where the host is reached by us, as it knows it itself; remote.Refused, remote.Lost."""
    command = programs.with_siblings("own_address", {})
    answer = remote.parse(remote.insist(host, command, patience_s=job.PATIENCE_S))
    if not answer["address"]:
        raise remote.Refused("found no trace of our own SSH connection; connect by SSH")
    return str(answer["address"])


def member(name: str, address: str, *, whole: bool = False, origin: bool = False) -> Member:
    cabled = engine.SETTINGS[name].fabric
    return Member(name, address, cabled.addresses if cabled else (), whole, origin)


def part(
    settings: Settings,
    program: str,
    paths: tuple[str, str],
    files: Mapping[str, File],
    chain: Sequence[Member],
    secret: str,
    after: Sequence[str] = (),
) -> FunctionCommand:
    """A command that runs ``program`` with the request and the links at ``paths`` on a host of
    ``chain``, until it has what is shared; the unit goes on and gives it to the others."""
    own = next(each for each in chain if each.name == settings.host)
    links = {**asdict(fanout.links(own, chain)), "port": settings.fan_out_port, "secret": secret}
    links_file = File(json.dumps(links, sort_keys=True), mode="600", secret=True)
    argv = ["/usr/bin/python3", str(layout.PROGRAMS / f"{program}.py"), *paths]
    told = {**files, paths[1]: links_file}
    return job.run(Job("fan-out", argv, TAKE_DEADLINE_S, told, after and [*argv, *after], True))
