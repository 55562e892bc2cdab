"""What came of a run: one record a host, the closing table, the evidence file, the exit code."""

from __future__ import annotations

import datetime
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from deploys.evidence import proof_columns, write_evidence
from fleet.preflight_finding import Finding

EXIT_OK = 0
EXIT_REFUSED = 1  # also: a step failed before anything was switched
EXIT_REVERTED = 3
EXIT_REVERT_FAILED = 4
EXIT_LOST = 5
BROKE = "the connection broke"
LOG_LINES = 15  # of the server's log where a switch failed
LAST_WORDS = 300  # characters of a command's complaint
FILE_WIDTH = 200  # columns where the output is no terminal: rows stay whole for grep


@dataclass
class HostResult:
    """One host's part of the run. Times in seconds, speed in tokens per second.

    ``wanted`` is the release the host was to end with, ``changes`` what differs in it from the one
    that served before. ``proofs`` are files/proofs.py's; ``server``: version, image, model revision
    and greedy answers.
    """

    host: str
    outcome: str = "not reached"
    proved: bool = False
    mode: str = ""
    model: str = ""
    release_before: str = ""
    wanted: str = ""
    release: str = ""
    completion: str = ""
    tokens_per_s: float | None = None
    downtime_s: float | None = None
    wave: int | None = None
    reason: str = ""
    changes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    proofs: list[dict[str, str]] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)

    def take_over(self, report: dict[str, Any]) -> None:
        """What the host's transaction (``files/activate.py``) reported at its end."""
        gate = report.get("gate") or {}
        self.outcome = str(report["outcome"]).replace("_", " ")
        self.release = str(report.get("serving") or "")
        self.downtime_s = report.get("downtime_s")
        self.reason = str(report.get("reason") or "")
        self.completion = " ".join(str(gate.get("text", "")).split())
        self.tokens_per_s = gate.get("tokens_per_s")
        self.log = [str(line) for line in report.get("log") or []][-LOG_LINES:]


@dataclass
class RunReport:
    """Shared by all hosts of the run (one process, one module).

    ``closing`` prints the end of a run that executed; None for a run that reports on nothing.
    ``following``: the jobs on hosts that the run waits for, by host and kind.
    ``interrupted`` is the exit code of a run that a signal ended.
    """

    expects_proof: bool = False
    results: dict[str, HostResult] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    plan: dict[str, list[str]] = field(default_factory=dict)
    following: set[tuple[str, str]] = field(default_factory=set)
    closing: Callable[[RunReport], None] | None = None
    started: str = ""
    began: float = field(default_factory=time.monotonic)
    closed: bool = False
    interrupted: int = 0
    _last_words: dict[str, str] = field(default_factory=dict)
    _broken: set[str] = field(default_factory=set)

    def ask_for(self, hosts: Iterable[str]) -> None:
        """These hosts were asked for; each must be accounted for at the end."""
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.results = {name: HostResult(name) for name in hosts}

    def of(self, host: str) -> HostResult:
        return self.results.setdefault(host, HostResult(host))

    @property
    def blocked(self) -> bool:
        return any(f.level == "blocked" for found in self.findings.values() for f in found)

    def unreachable(self, hosts: Iterable[str]) -> None:
        for name in hosts:
            self.of(name).outcome, self.of(name).reason = "unreachable", "no connection"

    def broke(self, host: str) -> ConnectionError:
        """The connection to ``host`` broke under a command; the error to raise."""
        self._broken.add(host)
        return ConnectionError(BROKE)

    def ended(self, host: str, ok: bool, lines: Sequence[str]) -> None:
        """A command on ``host`` came to its end; the last line of one that failed says why."""
        self._broken.discard(host)
        said = [line.strip() for line in lines if line.strip()]
        self._last_words[host] = "" if ok else (said or [""])[-1][:LAST_WORDS]

    def why(self, host: str) -> str:
        """Why the last command on ``host`` failed, as far as it is known."""
        if host in self._broken:
            return BROKE
        return self._last_words.get(host) or "a step failed, see above"

    def close(self, failed: set[str]) -> None:
        """The execution is over: account for hosts that failed without a result of their own."""
        self.closed = True
        for result in self.results.values():
            if self.interrupted and result.outcome == "not reached":
                switching = result.wave is not None
                result.outcome = "lost" if switching else "untouched"
                result.reason = (
                    "the run was stopped while it switched; status.py shows how it ended"
                    if switching
                    else "the run was stopped before its turn"
                )
            if result.host in failed and not result.reason:
                result.reason = self.why(result.host)
            if result.host in failed & self._broken and result.outcome == "not reached":
                result.outcome = "lost"

    def exit_code(self) -> int:
        if self.interrupted:
            return self.interrupted
        outcomes = {result.outcome for result in self.results.values()}
        for outcome, code in (
            ("revert failed", EXIT_REVERT_FAILED),
            ("lost", EXIT_LOST),
            ("reverted", EXIT_REVERTED),
        ):
            if outcome in outcomes:
                return code
        if self.expects_proof and not all(r.proved for r in self.results.values()):
            return EXIT_REFUSED
        return EXIT_REFUSED if any(r.reason for r in self.results.values()) else EXIT_OK

    def tell_plan(self) -> None:
        """Which hosts would serve something else, and what differs; told once."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for name in [host for host in self.results if host in self.plan]:
            alike.setdefault(tuple(self.plan[name]), []).append(name)
        for lines, names in alike.items():
            print(f"{', '.join(names)}:", file=sys.stderr)
            for line in lines:
                print(f"    {line}", file=sys.stderr)
        self.plan = {}

    def tell(self) -> None:
        """The end of the run, for a person; and the evidence of one that had to prove itself."""
        self._print_findings()
        if not self.closed:
            self.tell_plan()
        elif self.closing is not None:
            self.closing(self)

    def _print_findings(self) -> None:
        """Preflight's answer over the fleet; silent where every finding is ready."""
        told = [
            (host, finding)
            for host, found in sorted(self.findings.items())
            for finding in found
            if finding.level != "ready"
        ]
        if not told:
            return
        table = Table("host", "level", "what", "found", "wanted", "remedy", title="Preflight")
        for host, f in told:
            table.add_row(host, f.level, f.name, f.found, f.wanted, f.remedy)
        console().print(table)


def console(stream: TextIO | None = None) -> Console:
    """For tables; wide where nobody's terminal sets the width."""
    stream = stream or sys.stderr
    return Console(file=stream, width=None if stream.isatty() else FILE_WIDTH)


def closing_table(run: RunReport) -> None:
    """What became of each host, then the counts, the exit code and where the evidence lies."""
    results = list(run.results.values())
    waves = [r.wave for r in results]
    columns: list[tuple[str, list[str]]] = [
        ("host", [r.host for r in results]),
        ("outcome", [r.outcome for r in results]),
        ("wave", ["" if wave is None else str(wave + 1) for wave in waves]),
        ("mode", [r.mode for r in results]),
        ("model", [r.model for r in results]),
        ("release", [_releases(r) for r in results]),
        ("no service", [_seconds(r.downtime_s) for r in results]),
        ("tokens/s", ["" if r.tokens_per_s is None else f"{r.tokens_per_s:.1f}" for r in results]),
        ("completion, or reason", [r.reason or r.completion for r in results]),
    ]
    console().print(table_of(columns))
    if any(result.proofs for result in results):
        console().print(table_of(proof_columns(results)))
    path = write_evidence(run)
    counts = Counter(r.outcome for r in results)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    elapsed = time.monotonic() - run.began
    print(f"{told}; {elapsed:.0f} s; exit code {run.exit_code()}", file=sys.stderr)
    print(f"evidence: {path}", file=sys.stderr)


def table_of(columns: Sequence[tuple[str, list[str]]]) -> Table:
    """A table without the columns in which nothing stands."""
    filled = [(name, values) for name, values in columns if any(values)]
    table = Table(*(name for name, _ in filled))
    for row in zip(*(values for _, values in filled), strict=True):
        table.add_row(*(value.replace("[", r"\[") for value in row))
    return table


def _releases(result: HostResult) -> str:
    before, now = result.release_before, result.release
    return f"{before} → {now}" if before and now and before != now else now or before


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


RUN = RunReport()
