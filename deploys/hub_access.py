"""Would the Hub give what a host lacks? Asked on the control side, before the first byte."""

from __future__ import annotations

from pathlib import Path

from gevent.lock import RLock
from pyinfra import host
from pyinfra.api.operation import operation

from deploys.host_state import current
from deploys.operations import Commands, refuse
from deploys.report import RUN
from fleet import hub
from fleet.http import Client, Unreachable, trusting
from fleet.models import ModelLock
from fleet.preflight_finding import Finding
from fleet.preflight_room import lacking
from fleet.problems import SettingsError
from fleet.settings import Settings

TRIES = 2  # a person waits; the host's own download is patient
_answers: dict[tuple[str | None, ...], Finding] = {}
_asking = RLock()  # hosts come side by side; the first asks, the others take its answer


def token(settings: Settings) -> str | None:
    """The Hub token's text; SettingsError where the file holds none."""
    if settings.hf_token_file is None or settings.bundle:
        return None
    return hub.private_token(Path(settings.hf_token_file).expanduser())


def answer(settings: Settings, lock: ModelLock) -> Finding:
    """What the Hub says of one model; asked once for all hosts of the run."""
    asked = (settings.hf_endpoint, settings.hf_token_file, lock.repo, lock.revision)
    with _asking:
        if asked not in _answers:
            _answers[asked] = _ask(settings, lock)
        return _answers[asked]


def _ask(settings: Settings, lock: ModelLock) -> Finding:
    wanted = f"{lock.repo} at {lock.revision[:12]}, for the token given"
    try:
        extra = settings.extra_ca
        client = trusting(Path(extra).expanduser(), TRIES) if extra else Client(TRIES)
        hub.require(hub.Hub(settings.hf_endpoint, token(settings), client), lock)
    except Unreachable as error:
        remedy = "the hosts ask for themselves; see that they reach it"
        return Finding("hub", "warn", f"no answer: {error.problems[0]}", wanted, remedy)
    except SettingsError as error:
        remedy = f"as told; or lock a commit that the Hub has: fleet lock {lock.repo}"
        return Finding("hub", "blocked", error.problems[0], wanted, remedy)
    return Finding("hub", "ready", "every locked file", wanted)


@operation()
def granted(settings: Settings) -> Commands:
    """The Hub gives what the host lacks. Nobody is asked for what lies there already."""
    if settings.bundle:  # that it has the model was seen before the first connection
        return
    now = current(settings)
    asked = [answer(settings, lock) for lock in settings.locks if lacking(lock, now)]
    RUN.findings.setdefault(host.name, []).extend(asked)
    for finding in asked:
        if finding.level == "blocked":
            yield refuse(finding.line())
