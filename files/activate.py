"""Makes this host serve another release, as a transaction that no lost connection can break.

    activate.py start REQUEST     begin; REQUEST is JSON {"release", "who", "origin", "why", …}
    activate.py wait [REQUEST]    wait for news of it: {"timeout_s": 30, "seen": <"updated">}
    activate.py status            how it stands
    activate.py prune [REQUEST]   remove old releases: {"keep_releases": 2}
    activate.py recover           after a boot: take up an interrupted one (vllm.service runs it)
    activate.py run               the transaction itself (run by systemd, not by a person)

Each prints one JSON line. Exit status: 0 done or under way, 1 failed, 75 the lock is held,
78 the request cannot be met; then nothing was touched.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import audit
import bootguard
import hostlock
import journal
import layout
import old_releases
import phases
import preflight_release
import recovery
import release as releases
import systemd
from errors import HostError, Refused, exit_code
from phases import Activation
from transaction import Transaction, serves

WAIT_BOUND_S = 300.0


@dataclass(frozen=True)
class Request:
    """A wanted activation. ``release``: a staged digest, or "previous". ``speed``: the least that
    it has to reach, see ``speed.Limit``; None: any."""

    release: str
    who: str
    origin: str
    why: str
    keep_releases: int = 2
    break_lock: bool = False
    rollback: bool = False
    speed: dict[str, object] | None = None


def request_from(data: dict[str, Any]) -> Request:
    """A Request; raises Refused naming unknown or missing keys."""
    known = {item.name: item.type for item in fields(Request)}
    odd = sorted(set(data) - set(known))
    missing = [name for name in ("release", "who", "origin", "why") if not data.get(name)]
    if odd or missing:
        raise Refused(
            f"request: unknown keys {odd}, missing keys {missing}; allowed: {', '.join(known)}"
        )
    return Request(**data)


def start(data: dict[str, Any]) -> dict[str, object]:
    """Begin an activation; nothing is touched if this raises."""
    request = request_from(data)
    release = releases.read(wanted(request))
    owner = hostlock.owner(request.who, request.origin, f"activate {release.digest}")
    note = hostlock.take(owner, break_it=request.break_lock)
    try:
        activation = new(request, release.digest, owner, note)
        if serves(release.digest):
            return unchanged(activation, owner)
        preflight_release.check(release)
        launch(activation, owner)
    except BaseException:
        hostlock.free(owner)
        raise
    return phases.report(activation, alive=True)


def launch(activation: Activation, owner: hostlock.Owner) -> None:
    """Hand the activation to systemd; raises HostError if it does not take it, or if the lock is
    no longer ``owner``'s: then another's activation is left alone."""
    hostlock.require(owner)
    journal.keep(activation)
    bootguard.reset()  # here and not at each start: else a boot that goes on with it forgets too
    try:
        systemd.launch_activation()
    except HostError as error:
        hostlock.require(owner)
        systemd.stop(layout.ACTIVATE_UNIT)  # it may be on its way after all
        reason = f"not begun: {error}"
        journal.keep(
            phases.moved(
                activation, "done", outcome="reverted", reason=reason, finished=time.time()
            )
        )
        raise


def wanted(request: Request) -> str:
    """The digest asked for."""
    if request.release != "previous":
        return request.release
    digest = releases.linked(layout.PREVIOUS)
    if digest is None:
        raise Refused(f"{layout.PREVIOUS} names no staged release; there is nothing to go back to")
    return digest


def new(request: Request, digest: str, owner: hostlock.Owner, note: str) -> Activation:
    """The record of a new activation. An unfinished one before it hands on what it started from:
    that, and not what it left half-way, is the release to go back to."""
    before, previous = releases.linked(layout.CURRENT), releases.linked(layout.PREVIOUS)
    left = journal.load()
    if left is not None and not left.outcome:
        before, previous = left.before, left.before_previous
        note = "; ".join(
            filter(
                None,
                (
                    note,
                    f"activation {left.id} ({left.who}, to "
                    f"{left.release}) was left in phase {left.phase}",
                ),
            )
        )
    return Activation(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}",
        release=digest,
        before=before,
        before_previous=previous,
        who=request.who,
        origin=request.origin,
        why=request.why,
        boot_id=owner.boot_id,
        started=owner.since,
        keep_releases=request.keep_releases,
        rollback=request.rollback,
        speed=request.speed,
        was_enabled=systemd.show().enabled,
        notes=[note] if note else [],
        updated=owner.since,
    )


def unchanged(activation: Activation, owner: hostlock.Owner) -> dict[str, object]:
    """The wanted release serves already; from now on at boot as well."""
    systemd.enable()
    done = phases.moved(activation, "done", outcome="unchanged", finished=time.time())
    left = journal.load()
    if left is not None and not left.outcome:
        journal.keep(done)  # closes what was left half-way
    hostlock.free(owner)
    return phases.report(done, alive=False)


def run() -> dict[str, object]:
    """Carry out the waiting activation, or go on with it after a kill or a boot."""
    activation = journal.load()
    if activation is None:
        raise Refused(f"{layout.ACTIVATION} holds no activation; begin one with: start")
    mine = hostlock.holder()  # who began it: that process has ended
    same_boot = activation.boot_id == hostlock.boot_id()
    course = phases.course(activation, same_boot=same_boot)
    done = Transaction(activation).run(course)
    try:
        audit.append_once("activate", done)
        if done.outcome in ("switched", "unchanged"):
            old_releases.drop(done.keep_releases)
    except OSError as error:  # what serves is settled; a full disk must not hold the lock
        print(f"activate: {error.filename}: {error.strerror}; not written", flush=True)
    finally:
        hostlock.free(mine)
    return phases.report(done, alive=False)


def status() -> dict[str, object]:
    """How the last activation stands; {} if there was none."""
    activation = journal.load()
    if activation is None:
        return {}
    alive = systemd.show(layout.ACTIVATE_UNIT).alive
    if not alive and not activation.outcome:
        alive = systemd.booting()  # vllm.service has not had its turn yet, or is at it
    return phases.report(activation, alive=alive)


def wait(data: dict[str, Any]) -> dict[str, object]:
    """Return as soon as there is news after ``seen``, an outcome, or ``timeout_s`` is over."""
    deadline = time.monotonic() + min(float(data.get("timeout_s", 30)), WAIT_BOUND_S)
    while True:
        activation = journal.load()
        over = (
            activation is None
            or activation.outcome
            or activation.updated != data.get("seen", activation.updated)
        )
        if over or time.monotonic() > deadline:
            return status()
        time.sleep(0.2)


def parsed(text: str) -> dict[str, Any]:
    """The request; none is an empty one."""
    try:
        data = json.loads(text or "{}")
    except ValueError as error:
        raise Refused(f"request: found no JSON ({error}); allowed is one object") from None
    if not isinstance(data, dict):
        raise Refused(f"request: found {type(data).__name__}; allowed is one object")
    return data


def main() -> int:
    """Dispatch the command; the request is the second argument or, for "-", stdin."""
    name, text = ([*sys.argv[1:], "", ""])[:2]
    data = parsed(sys.stdin.read() if text == "-" else text)
    commands: dict[str, Callable[[], dict[str, object]]] = {
        "start": lambda: start(data),
        "wait": lambda: wait(data),
        "status": status,
        "run": run,
        "recover": recovery.recover,
        "prune": lambda: old_releases.drop(int(data.get("keep_releases", 2))),
    }
    if name not in commands:
        raise Refused(f"command {name!r}: allowed are {', '.join(commands)}")
    print(json.dumps(commands[name](), sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("activate", main))
