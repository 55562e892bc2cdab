"""Start the host's own transaction (``files/activate.py``) and follow it to its outcome.

It runs on the host as a transient unit, so a connection that breaks costs only the view of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import layout
from paramiko import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from deploys import invocation, remote
from fleet.settings import Settings

WAIT_S = 10
TELL_S = 10  # a progress line at least this often
ANSWER_S = 15  # over which an answer is late
BEGIN_TRIES = 3
GOING_BACK = ("reverting", "restarting", "regating")
_BROKEN = (TimeoutError, OSError, EOFError, SSHException, ConnectError)


@dataclass(frozen=True)
class Wish:
    """``release`` is a staged digest. ``why`` is for the audit log; ``rollback`` says that the
    operator wants to go back, and so not once more when the same is asked again; ``speed`` is what
    the release has to reach (``files/speed.py``)."""

    release: str
    why: str
    rollback: bool = False
    speed: Mapping[str, float] | None = None


def activate(
    host: Host,
    settings: Settings,
    wish: Wish,
    *,
    label: str,
    going_back: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Make ``host`` serve what is wished; its final report.

    ``label`` begins each progress line; ``going_back`` is called once it is known that the host
    reverts. Raises ``remote.Refused`` when the host refused to begin (nothing was touched) and
    ``remote.Lost`` when it did not answer for ``lost_after_s``.
    """
    report = _begin(host, settings, wish)
    begun, progress = report.get("id"), _Progress(host, label)
    for note in report.get("notes") or []:
        host.log(f"{label}: {note}")
    while not report.get("outcome"):
        if report.get("interrupted"):
            raise remote.Refused(
                f"activation {begun} was killed in phase {report.get('phase')}; "
                "run the same command again"
            )
        progress.tell(report)
        if report.get("phase") in GOING_BACK:
            going_back()
        report = _news(host, settings, report)
        if report.get("id") != begun:
            raise remote.Refused(
                f"activation {begun} was ended by {report.get('who')} from {report.get('origin')}, "
                f"who now switches to release {report.get('release')}; see status.py"
            )
    return report


@dataclass
class _Progress:
    """Says what is new, and every ``TELL_S`` seconds that it still goes on."""

    host: Host
    label: str
    began: float = field(default_factory=time.monotonic)
    told: str = ""
    told_at: float = 0.0

    def tell(self, report: dict[str, Any]) -> None:
        line = ": ".join(filter(None, (report.get("phase"), report.get("detail"))))
        what, now = re.sub(r" \(\d+ s\)$", "", line), time.monotonic()
        if what == self.told and now - self.told_at < TELL_S:
            return
        self.told, self.told_at = what, now
        self.host.log(f"{self.label}, {now - self.began:.0f} s, {line}")


def _news(host: Host, settings: Settings, report: dict[str, Any]) -> dict[str, Any]:
    """The next report; also without news after ``WAIT_S`` seconds."""
    command = _command("wait", {"timeout_s": WAIT_S, "seen": report.get("updated")})
    patience, bound = settings.lost_after_s, WAIT_S + ANSWER_S
    return remote.parse(remote.insist(host, command, patience_s=patience, timeout_s=bound))


def _begin(host: Host, settings: Settings, wish: Wish) -> dict[str, Any]:
    """The first report. A connection that breaks while we ask may hide that it has begun."""
    request = {
        "release": wish.release,
        **invocation.operator(),
        "why": f"{wish.why} (run {invocation.RUN_ID} for {host.name})",
        "keep_releases": settings.keep_releases,
        "break_lock": settings.break_lock,
        **({"speed": dict(wish.speed)} if wish.speed else {}),
        **({"rollback": True} if wish.rollback else {}),
    }
    for _ in range(BEGIN_TRIES):
        try:
            return remote.parse(remote.run(host, _command("start", request)))
        except remote.Refused:
            report = _status(host, settings)
            if (
                report.get("release") != wish.release
                or report.get("outcome", "")
                or report.get("interrupted")
            ):
                raise
            host.log(f"joins the switch to it that {report.get('who')} began")
            return report
        except _BROKEN:
            report = _status(host, settings)
            if report.get("why") == request["why"] and report.get("release") == wish.release:
                return report
    raise remote.Lost(f"the connection broke {BEGIN_TRIES} times while the switch was asked for")


def _status(host: Host, settings: Settings) -> dict[str, Any]:
    """How the host's last activation stands."""
    command = _command("status", {})
    return remote.parse(remote.insist(host, command, patience_s=settings.lost_after_s))


def _command(name: str, request: dict[str, object]) -> StringCommand:
    program = str(layout.PROGRAMS / "activate.py")
    return StringCommand("python3", "-B", program, name, "-", _stdin=json.dumps(request))
