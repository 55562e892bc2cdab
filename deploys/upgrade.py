"""Move hosts to new pins: kernel, driver, toolkit, Docker. Wave by wave, never beside a deploy.

Everything is fetched on all hosts before the first one stops serving. A host is moved by the same
steps that deploy.py is made of, in its turn; one that served has to answer a completion again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

import layout
from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import NestedOperationError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import docker, drain, driver, host_lock, preflight, remote, serve, toolkit, turns
from deploys.host_state import current, forget
from deploys.operations import Commands, File, tree
from deploys.packages import install
from deploys.packages import moved as packages_moved
from deploys.report import RUN, closing_table
from deploys.units import stale
from fleet import host_files, host_packages
from fleet.difference import facts
from fleet.preflight_driver import reboot_reasons, serves
from fleet.preflight_machine import platform
from fleet.settings import Settings
from fleet.snapshot import Snapshot

GRACE_S = 180  # over what the release itself takes to stop, and to start
POLL_S = 3
TELL_S = 30
BROKE_OFF = "the run broke off, see above"
LABEL = "upgrade"


def wrong_packages(settings: Settings, now: Snapshot) -> dict[str, str]:
    """Installed packages that are not at their pin → the pin. DGX OS moves its own."""
    if platform(now) != "ubuntu":
        return {}
    pins = host_packages.pins(settings)
    return {name: pins[name] for name in host_packages.differing(now, pins)}


def work(settings: Settings, now: Snapshot) -> list[str]:
    """What a turn would change on the host, for a person; empty when nothing."""
    found = {n: host_packages.installed(now, n) for n in wrong_packages(settings, now)}
    lines = [f"{n} {found[n]} → {pin}" for n, pin in wrong_packages(settings, now).items()]
    lines += [f"reboot: {reason}" for reason in reboot_reasons(settings, now)]
    if stale(now, "docker.service", [docker.DAEMON_JSON]):
        lines.append("restart Docker: it is behind daemon.json")
    unit = now.units.get(layout.UNIT)
    if meant_to_serve(now) and unit and unit.ActiveState != "active":
        lines.append(f"start {layout.UNIT}: it is {unit.ActiveState}")
    return lines


def meant_to_serve(now: Snapshot) -> bool:
    """It would serve a release after a boot: so also one that a killed upgrade left stopped."""
    unit = now.units.get(layout.UNIT)
    return now.serving.current is not None and unit is not None and unit.UnitFileState == "enabled"


@operation()
def staged(settings: Settings) -> Commands:
    """The wanted packages lie on the host, fit together, and remove nothing."""
    wrong = wrong_packages(settings, current(settings))
    if not wrong:
        host.noop("all packages are at their pins")
        return
    yield from install(settings, wrong, move=True, stage=True)


@operation(_set_in_op=False)  # its turn runs the operations of other steps
def upgraded(settings: Settings) -> Commands:
    """The host has the pins, runs them, and serves again if it served."""
    with turns.taken(settings, "upgrade"):
        todo = _todo(settings, current(settings))
    if not todo:
        RUN.of(host.name).outcome = "unchanged"
        host.noop("all pins are there and run")
        return
    RUN.plan[host.name] = todo
    forget()
    yield FunctionCommand(_take_turn, (settings,), {})


def _todo(settings: Settings, now: Snapshot) -> list[str]:
    """What the host's turn would change; the other hosts hear whether it needs one."""
    todo, result = work(settings, now), RUN.of(host.name)
    result.release_before = result.release = result.wanted = serve.running(now) or ""
    if host.state.is_executing:
        if result.release_before:
            drain.remember(host.name, now)
        turns.rollout(settings, "upgrade").declare(host.name, bool(todo))
    return todo


def _take_turn(state: State, host: Host, settings: Settings) -> bool:
    roll, result = turns.rollout(settings, "upgrade"), RUN.of(host.name)
    result.wave = roll.turn(host.name)
    if result.wave is None:
        result.outcome = "untouched"
        result.reason = f"its wave did not begin, because of {roll.broken_by}"
        return False
    result.outcome, problem = "failed", BROKE_OFF
    try:
        problem = drain.outage(settings, roll.waves, roll.members) or _guarded(host, settings)
        result.outcome = "failed" if problem else "switched"
        result.release = serve.running(current(settings)) or ""
    except (PyinfraError, *remote.TROUBLE) as error:
        result.outcome = "failed"
        problem = problem if problem != BROKE_OFF else remote.why(error)
    finally:  # the other hosts wait for it
        result.reason = problem
        roll.report(host.name, result.outcome)
    if problem:
        host.log_styled(f"upgrade: {problem}", fg="red", log_func=logger.error)
    return not problem


def _guarded(host: Host, settings: Settings) -> str:
    """Move the host under its lock; "" or what went wrong."""
    try:
        host_lock.hold(host, LABEL, break_lock=settings.break_lock)
    except remote.TROUBLE as error:
        return remote.why(error)
    try:
        problem = _moved(host, settings)
    except host_lock.TakenOver as error:  # what serves there is theirs now
        return str(error)
    finally:
        left = host_lock.free(host)
    return "; ".join(filter(None, (problem, left)))


def _moved(host: Host, settings: Settings) -> str:
    """Move the host; "" or what went wrong. A host that served is made to serve in any case."""
    served = meant_to_serve(current(settings))
    problem = ""
    try:
        if serves(current(settings)):
            drain.out(host, settings, LABEL)
            _stop(host, settings, facts(current(settings).serving.texts))
            forget()  # what is read from here on is of a host that does not serve
            host_lock.keep(host, LABEL)
        _move(settings)
        host_lock.keep(host, LABEL)
    except remote.TROUBLE as error:
        problem = remote.why(error)
    except NestedOperationError:
        problem = RUN.of(host.name).reason or RUN.why(host.name)
    _look(settings)
    turns.rollout(settings, "upgrade").meet(host.name)  # a replica starts on equal hosts
    if served:
        again = _served_again(host, settings)
        problem = "; ".join(filter(None, (problem, again)))
        forget()
    left = "" if problem else "; ".join(work(settings, current(settings)))
    return problem or (f"still to do: {left}" if left else "")


def _look(settings: Settings) -> None:
    """What the others of its replica compare with; a host that does not answer yet may later."""
    forget()
    with suppress(PyinfraError, *remote.TROUBLE):
        preflight.look(settings)


def _served_again(host: Host, settings: Settings) -> str:
    """ "" when it serves as before, else why not. Unequal hosts of a replica hang, or are slow."""
    unequal = preflight.parted(settings)
    if not unequal:
        return _start(host, settings) or drain.back(host, LABEL)
    try:  # a boot begins it by itself
        _stop(host, settings, facts(current(settings).serving.texts))
    except remote.TROUBLE as error:
        unequal += f"; {remote.why(error)}"
    return f"{layout.UNIT} stays stopped: {unequal}"


def _move(settings: Settings) -> None:
    """The steps of deploy.py, at once and on this host alone."""
    forced = settings.model_copy(update={"allow_reboot": True})
    wrong = wrong_packages(settings, current(settings))
    packages_moved(name="Move the packages to their pins", settings=forced, packages=wrong)
    driver.run(settings=forced)
    docker.run(settings=forced)
    toolkit.run(settings=forced)


def _stop(host: Host, settings: Settings, release: Mapping[str, object]) -> None:
    """Returns when the server has drained and is gone."""
    drain_s = int(str(release.get("drain_timeout_s", settings.mode.drain_timeout_s)))
    # files/server.py waits so long for its requests, and then as long again for vLLM's own end.
    if not _ordered(host, settings, "stop", ("inactive", "failed"), 2 * drain_s + GRACE_S):
        raise remote.Refused(f"{layout.UNIT} did not stop in time; status.py shows what it does")


def _start(host: Host, settings: Settings) -> str:
    """ "" when the unit is up, which it is only after a real completion; else what happened."""
    bound = settings.mode.ready_timeout_s + GRACE_S
    try:
        state = _ordered(host, settings, "start", ("active", "failed"), bound)
    except (remote.Refused, remote.Lost) as error:
        return str(error)
    if state == "failed":
        return f"{layout.UNIT} failed; journalctl -u {layout.UNIT} on the host tells why"
    return "" if state else f"{layout.UNIT} was not ready in time"


def _ordered(
    host: Host, settings: Settings, order: str, ends: Collection[str], bound_s: float
) -> str:
    """The unit's state once it is one of ``ends``; "" where that takes more than ``bound_s``."""
    command = StringCommand("systemctl", order, "--no-block", layout.UNIT)
    ask = StringCommand(f"systemctl is-active {layout.UNIT} || true")
    remote.insist(host, command, patience_s=settings.reboot_timeout_s)
    began = told = time.monotonic()
    while time.monotonic() - began < bound_s:
        [state] = remote.insist(host, ask, patience_s=settings.reboot_timeout_s)
        if state in ends:
            return state
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            host.log(f"{LABEL}: {layout.UNIT} is {state}, {told - began:.0f} s after {order}")
        time.sleep(POLL_S)
    return ""


@deploy("Upgrade")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    if platform(current(settings)) == "ubuntu":
        tree(
            name="Pin apt to the wanted kernel and driver",
            settings=settings,
            files={path: File(text) for path, text in host_files.preferences(settings).items()},
        )
        staged(name="Fetch the packages", settings=settings)
    upgraded(name="Upgrade the hosts, canary first", settings=settings)
