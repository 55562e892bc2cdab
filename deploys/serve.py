"""Stage the release, then let canary and waves serve it; revert where the gate fails."""

from __future__ import annotations

from collections.abc import Collection

import layout
from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import remote
from deploys.activation import activate
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, tree
from deploys.report import RUN, HostResult
from deploys.rollout import Rollout
from fleet import render
from fleet.settings import Settings
from fleet.snapshot import Snapshot

LOG_LINES = 15
_rollouts: dict[str, Rollout] = {}


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


def request() -> dict[str, str]:
    """What the snapshot is asked about releases, activation and lock."""
    return {
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


def rollout(settings: Settings, name: str) -> Rollout:
    """The one rollout of this run that all its hosts share."""
    if name not in _rollouts:
        members = [h for h in RUN.results if h in {a.name for a in state.active_hosts}]
        _rollouts[name] = Rollout(
            members=members,
            canary=_canary(settings.canary),
            wave_size=settings.wave_size,
            on_failure=settings.on_failure,
            lost=lambda: {h.name for h in state.failed_hosts},
        )
    return _rollouts[name]


def _canary(name: str | None) -> Collection[str]:
    """A group's hosts, or the one host of that name."""
    if name is None:
        return ()
    group = host.inventory.get_group(name, default=None)
    return [h.name for h in group] if group else (name,)


@operation()
def served(settings: Settings, release: str | None = None) -> Commands:
    """Every host of the run serves its release (default: the declared one), wave by wave."""
    digest = release or render.release(settings).digest
    now = current(settings)
    change = digest == "previous" or not serves(now, digest)
    result = RUN.of(host.name)
    result.mode, result.model = settings.vllm_mode, settings.model.repo
    result.release_before = running(now) or now.serving.current or ""
    if state.is_executing:
        rollout(settings, "serve").declare(host.name, change)
    if not change:
        host.noop(f"serves {digest}")
        return
    forget()
    yield FunctionCommand(_take_turn, (settings, digest), {})


def _take_turn(state: State, host: Host, settings: Settings, release: str) -> bool:
    """One host's part of the rollout; False unless it ends serving what was asked for."""
    roll, result = rollout(settings, "serve"), RUN.of(host.name)
    wave = roll.turn(host.name)
    if wave is None:
        result.outcome = "untouched"
        result.reason = f"its wave did not begin, because of {roll.broken_by}"
        host.log_styled(f"untouched: {result.reason}", fg="yellow", log_func=logger.warning)
        return False
    result.wave = wave
    host.log(f"wave {wave + 1} of {len(roll.waves)}: begins")
    _switch(host, settings, release, result)
    roll.report(host.name, result.outcome)
    # A host that served nothing before is not made to serve nothing again.
    if roll.must_revert(host.name) and result.release_before:
        _go_back(host, settings, result, roll.broken_by)
    return result.outcome in ("switched", "unchanged")


def _switch(host: Host, settings: Settings, release: str, result: HostResult) -> None:
    try:
        report = activate(host, settings, release)
    except remote.Refused as error:
        result.outcome, result.reason = "refused", str(error)
    except remote.Lost as error:
        result.outcome, result.reason = "lost", str(error)
    else:
        result.outcome = str(report["outcome"]).replace("_", " ")
        result.release = str(report.get("serving") or "")
        result.downtime_s = report.get("downtime_s")
        result.reason = str(report.get("reason") or "")
        result.log = [str(line) for line in report.get("log") or []][-LOG_LINES:]
    _tell(host, result)


def _go_back(host: Host, settings: Settings, result: HostResult, broken_by: str) -> None:
    """Serve the release before this run again, because another host of the run failed."""
    host.log(f"goes back, because of {broken_by}")
    before = result.downtime_s or 0.0
    back = HostResult(host.name)
    _switch(
        host, settings, "previous" if not result.release_before else result.release_before, back
    )
    result.downtime_s = before + (back.downtime_s or 0.0)
    result.release = back.release
    good = back.outcome in ("switched", "unchanged")
    result.outcome = "reverted" if good else "revert failed"
    result.reason = f"went back because {broken_by} failed"
    if not good:
        result.reason += f"; going back failed too: {back.reason}"


def _tell(host: Host, result: HostResult) -> None:
    good = result.outcome in ("switched", "unchanged")
    for line in result.log if not good else []:
        host.log(f"    {line}")
    line = f"{result.outcome}: {result.reason}" if result.reason else result.outcome
    log = logger.info if good else logger.error
    host.log_styled(line, fg="green" if good else "red", log_func=log)


@deploy("Serve")
def run(*, settings: Settings) -> None:
    RUN.expects_proof = True
    tree(name="Stage the release", settings=settings, files=staged(settings))
    served(name="Serve the release, canary first", settings=settings)
