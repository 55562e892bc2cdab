"""Every host back to its previous release, through the same waves and gate as forward."""

from __future__ import annotations

from pyinfra import host, logger, state
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import serve
from deploys.host_state import current
from deploys.operations import Commands
from deploys.report import RUN, closing_table
from fleet.settings import Settings
from fleet.snapshot import Snapshot

WHY = "rollback"  # how the activations of this deploy file begin in the hosts' records


def went_back(snapshot: Snapshot) -> bool:
    """The last change of this host was a rollback that succeeded: it is where it was to go."""
    last = snapshot.serving.activation or {}
    return (
        str(last.get("why", "")).startswith(WHY)
        and last.get("outcome") in ("switched", "unchanged")
        and last.get("release") == snapshot.serving.current
    )


def target(snapshot: Snapshot) -> str | None:
    """The release to go back to; None where there is none."""
    found = snapshot.serving
    digest = found.current if went_back(snapshot) else found.previous
    return digest if digest in found.releases else None


@operation()
def served(settings: Settings) -> Commands:
    """Each host of the run serves its previous release."""
    now = current(settings)
    digest = target(now)
    if digest is not None:
        yield from serve.serving(settings, digest, [])
        return
    result = RUN.of(host.name)
    result.outcome, result.reason = "untouched", "it has no previous release to go back to"
    result.wanted = now.serving.current or ""
    host.log_styled(result.reason, fg="yellow", log_func=logger.warning)
    if state.is_executing:
        serve.rollout(settings, "serve").declare(host.name, False)


@deploy("Roll back")
def run(*, settings: Settings) -> None:
    RUN.expects_proof = True
    RUN.closing = closing_table
    served(name="Serve the previous release, canary first", settings=settings)
