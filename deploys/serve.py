"""Stage the release, then let canary and waves serve it; revert where the gate fails."""

from __future__ import annotations

import time

import layout
from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import drain, invocation, remote, turns
from deploys.activation import Wish, activate
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, tree
from deploys.report import RUN, HostResult, closing_table
from deploys.rollout import GOOD, OUTSIDE, UNSEEN, Rollout
from fleet import baseline, render
from fleet.difference import differences
from fleet.settings import Settings
from fleet.snapshot import Snapshot


def digest(settings: Settings) -> str:
    """The declared release's name."""
    return render.release(settings).digest


def staged(settings: Settings) -> dict[str, File]:
    """The release's files, by path. The environment may hold what only root should read."""
    release = render.release(settings)
    folder = layout.RELEASES / release.digest
    modes = {"vllm.env": "600"}
    return {
        str(folder / name): File(text, mode=modes.get(name, "644"))
        for name, text in release.files.items()
    }


def watch(settings: Settings) -> Watch:
    return Watch(files=tuple(staged(settings)), units=(layout.UNIT,), ports=(settings.port,))


def request() -> dict[str, object]:
    """What the snapshot is asked about releases, activation and lock."""
    return {
        "texts": ["release.json", "vllm.yaml", "vllm.env", "compose.yaml"],
        "current": str(layout.CURRENT),
        "previous": str(layout.PREVIOUS),
        "releases": str(layout.RELEASES),
        "activation": str(layout.ACTIVATION),
        "verified": str(layout.VERIFIED),
        "lock": str(layout.LOCK),
    }


def running(snapshot: Snapshot) -> str | None:
    """The release that the running container of ours was started from."""
    for container in snapshot.docker.containers:
        if container.name == layout.CONTAINER and container.state == "running":
            return container.labels.get(layout.RELEASE_LABEL)
    return None


def serves(snapshot: Snapshot, digest: str) -> bool:
    """The release is current, its unit had its completion, its container runs, starts at boot."""
    unit = snapshot.units.get(layout.UNIT)
    return (
        snapshot.serving.current == digest
        and unit is not None
        and (unit.ActiveState, unit.UnitFileState) == ("active", "enabled")
        and running(snapshot) == digest
    )


@operation()
def served(settings: Settings) -> Commands:
    """Every host of the run serves its declared release, wave by wave."""
    with turns.taken(settings, "serve"):
        release = render.release(settings)
        now = current(settings)
        result = RUN.of(host.name)
        result.mode, result.model = settings.vllm_mode, settings.model.repo
        wish = Wish(release.digest, why(settings), speed=baseline.limit(settings))
        yield from serving(settings, wish, differences(now.serving.texts, release.files))


def serving(settings: Settings, wish: Wish, changes: list[str]) -> Commands:
    """The commands that make the current host serve what is wished, in its wave; none if it does.

    ``changes`` tells a person what differs from what it serves now.
    """
    now, digest = current(settings), wish.release
    change = not serves(now, digest)
    result = RUN.of(host.name)
    result.wanted = digest
    result.release_before = running(now) or now.serving.current or ""
    result.changes = changes if change else []
    if state.is_executing:
        if running(now):
            drain.remember(host.name, now)
        turns.rollout(settings, "serve").declare(host.name, change)
    if not change:
        host.noop(f"serves {digest}")
        return
    RUN.plan[host.name] = [
        *RUN.plan.get(host.name, ()),
        f"release {result.release_before or 'none'} → {digest}",
        *(changes or [f"the same release again: {standing(now)}"]),
    ]
    forget()
    yield FunctionCommand(_take_turn, (settings, wish), {})


def standing(snapshot: Snapshot) -> str:
    """Why a host that has the right release does not serve it."""
    unit = snapshot.units.get(layout.UNIT)
    said = f"{unit.ActiveState}, {unit.UnitFileState}" if unit else "not known"
    return f"{layout.UNIT} is {said}; container of release {running(snapshot) or 'none'} runs"


def _take_turn(state: State, host: Host, settings: Settings, wish: Wish) -> bool:
    with turns.taken(settings, "serve"):
        return _turn(host, settings, wish, turns.rollout(settings, "serve"))


def _turn(host: Host, settings: Settings, wish: Wish, roll: Rollout) -> bool:
    """One host's part of the rollout; False unless it ends serving what was asked for."""
    result = RUN.of(host.name)
    wave = roll.turn(host.name)
    if wave is None:
        result.outcome = "untouched"
        result.reason = f"its wave did not begin, because of {roll.broken_by}"
        host.log_styled(f"untouched: {result.reason}", fg="yellow", log_func=logger.warning)
        return False
    result.wave = wave
    if line := drain.outage(settings, roll.waves, roll.members):
        result.outcome, result.reason = "refused", line
        roll.report(host.name, result.outcome)
        _tell(host, result)
        return False
    names = ", ".join(roll.waves[wave])
    label = f"wave {wave + 1} of {len(roll.waves)}"
    host.log(f"{label} ({names}): begins {time.monotonic() - roll.began:.0f} s after the first")
    _switch(host, settings, wish, result, label=label)
    roll.report(host.name, result.outcome)
    # A host that served nothing before is not made to serve nothing again.
    if roll.must_revert(host.name):
        _leave(host, settings, wish, result, roll)
    return result.outcome in GOOD


def _leave(host: Host, settings: Settings, wish: Wish, result: HostResult, roll: Rollout) -> None:
    if result.release_before:
        _go_back(host, settings, wish, result, roll.broken_by)
    elif roll.torn(host.name):
        result.outcome = "reverted"
        result.reason = f"{roll.broken_by} of its replica failed; it was the first release"
        result.release = ""


def why(settings: Settings) -> str:
    """For the audit log."""
    return ": ".join(filter(None, (invocation.program(), settings.reason)))


def _switch(host: Host, settings: Settings, wish: Wish, result: HostResult, *, label: str) -> None:
    try:
        drain.out(host, settings, label)
        report = activate(
            host,
            settings,
            wish,
            label=label,
            going_back=lambda: turns.rollout(settings, "serve").fails(host.name),
        )
    except remote.Refused as error:
        result.outcome, result.reason = "refused", str(error)
    except remote.Lost as error:
        result.outcome, result.reason = "lost", str(error)
    else:
        result.take_over(report)
    if result.outcome not in ("lost", "revert failed") and (line := drain.back(host, label)):
        outside = UNSEEN if isinstance(line, drain.NotSeen) else OUTSIDE
        result.outcome = outside if result.outcome in GOOD else result.outcome
        result.reason = "; ".join(filter(None, (result.reason, line)))
    _tell(host, result)


def _go_back(
    host: Host, settings: Settings, wish: Wish, result: HostResult, broken_by: str
) -> None:
    """Serve the release before this run again, because another host of the run failed."""
    host.log(f"goes back, because of {broken_by}")
    back = HostResult(host.name)
    why = f"going back after {wish.why}, because of {broken_by}"
    _switch(host, settings, Wish(result.release_before, why), back, label="going back")
    result.downtime_s = (result.downtime_s or 0.0) + (back.downtime_s or 0.0)
    result.release, result.completion = back.release, back.completion
    result.tokens_per_s = back.tokens_per_s
    good = back.outcome in GOOD
    own = result.outcome == OUTSIDE
    result.outcome = "reverted" if good else "revert failed"
    result.reason = f"went back because {result.reason if own else f'{broken_by} failed'}"
    if not good:
        result.reason += f"; going back failed too: {back.reason}"


def _tell(host: Host, result: HostResult) -> None:
    good = result.outcome in GOOD
    for line in result.log if not good else []:
        host.log(f"    {line}")
    line = f"{result.outcome}: {result.reason}" if result.reason else result.outcome
    log = logger.info if good else logger.error
    host.log_styled(line, fg="green" if good else "red", log_func=log)


@deploy("Serve")
def run(*, settings: Settings) -> None:
    RUN.expects_proof = True
    RUN.closing = closing_table
    tree(name="Stage the release", settings=settings, files=staged(settings))
    served(name="Serve the release, canary first", settings=settings)
