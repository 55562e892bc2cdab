"""Every host back to its previous release, through the same waves and gate as forward."""

from __future__ import annotations

from pyinfra import host, logger, state
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import members, serve, turns
from deploys.activation import Wish
from deploys.host_state import current
from deploys.operations import Commands
from deploys.report import RUN, closing_table
from fleet.difference import differences, facts
from fleet.settings import Settings
from fleet.snapshot import Snapshot


def went_back(snapshot: Snapshot) -> bool:
    """The last change of this host was a rollback that succeeded: it is where it was to go."""
    last = snapshot.serving.activation or {}
    return (
        last.get("rollback") is True
        and last.get("outcome") in ("switched", "unchanged")
        and last.get("release") == snapshot.serving.current
    )


def target(snapshot: Snapshot) -> str | None:
    """The release to go back to; None where there is none."""
    found = snapshot.serving
    digest = found.current if went_back(snapshot) else found.previous
    return digest if digest in found.releases else None


def _say_what_serves_then(now: Snapshot) -> None:
    there = facts(now.serving.texts if went_back(now) else now.serving.previous_texts)
    result = RUN.of(host.name)
    result.mode, result.model = str(there.get("mode", "")), str(there.get("model", ""))


def _changes(now: Snapshot) -> list[str]:
    """What differs in the release that it goes back to; nothing where it is there already."""
    return [] if went_back(now) else differences(now.serving.texts, now.serving.previous_texts)


def _unasked(now: Snapshot) -> str:
    """Why a gateway would not find the release to go back to: it asks for the declared names."""
    there = facts(now.serving.texts if went_back(now) else now.serving.previous_texts)
    name, wanted = str(there.get("served_name", "")), members.wanted()
    if not members.GATEWAYS or host.name not in wanted or name in wanted.values():
        return ""
    allowed = ", ".join(dict.fromkeys(wanted.values()))
    return (
        f"the release before serves {name}, the gateway has {allowed}; allowed: one of these; "
        f"deploy.py with the settings of then leads back, or served_name = {name!r}"
    )


@operation()
def served(settings: Settings) -> Commands:
    """Each host of the run serves its previous release."""
    with turns.taken(settings, "serve"):
        yield from _served(settings)


def _served(settings: Settings) -> Commands:
    now = current(settings)
    digest, reason = target(now), "it has no previous release to go back to"
    if digest is not None and (lost := _unasked(now)):
        digest, reason = None, lost
    if digest is not None:
        _say_what_serves_then(now)
        wish = Wish(digest, serve.why(settings), rollback=True)
        yield from serve.serving(settings, wish, _changes(now))
        return
    result = RUN.of(host.name)
    result.outcome, result.reason = "untouched", reason
    result.wanted = now.serving.current or ""
    host.log_styled(result.reason, fg="yellow", log_func=logger.warning)
    if state.is_executing:
        turns.rollout(settings, "serve").declare(host.name, False)


@deploy("Roll back")
def run(*, settings: Settings) -> None:
    RUN.expects_proof = True
    RUN.closing = closing_table
    served(name="Serve the previous release, canary first", settings=settings)
