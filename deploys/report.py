"""What came of a run: one record a host, the closing table, the evidence file, the exit code."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fleet.preflight_finding import Finding

EXIT_OK = 0
EXIT_REFUSED = 1  # also: a step failed before anything was switched
EXIT_REVERTED = 3
EXIT_REVERT_FAILED = 4
EXIT_LOST = 5
EVIDENCE = Path("evidence")


@dataclass
class HostResult:
    """One host's part of the run. Times in seconds, speed in tokens per second."""

    host: str
    outcome: str = "not reached"
    proved: bool = False
    mode: str = ""
    model: str = ""
    release_before: str = ""
    release: str = ""
    completion: str = ""
    tokens_per_s: float | None = None
    downtime_s: float | None = None
    wave: int | None = None
    reason: str = ""
    log: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """Shared by all hosts of the run (one process, one module)."""

    expects_proof: bool = False
    results: dict[str, HostResult] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    started: str = ""
    written: Path | None = None

    def ask_for(self, hosts: Iterable[str]) -> None:
        """These hosts were asked for; each must be accounted for at the end."""
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.results = {name: HostResult(name) for name in hosts}

    def of(self, host: str) -> HostResult:
        return self.results.setdefault(host, HostResult(host))

    @property
    def blocked(self) -> bool:
        return any(f.level == "blocked" for found in self.findings.values() for f in found)

    def close(self, failed: set[str]) -> None:
        """Account for hosts that failed without a result, print the table, write the evidence."""
        for result in self.results.values():
            if result.host in failed and not result.reason:
                result.reason = "a step failed, see above"
        if self.expects_proof:
            self._print()
            self._write()

    def exit_code(self) -> int:
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

    def print_findings(self) -> None:
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
        Console(stderr=True).print(table)

    def _print(self) -> None:
        table = Table("host", "outcome", "mode", "model", "release", "completion", "tokens/s")
        for result in self.results.values():
            speed = "" if result.tokens_per_s is None else f"{result.tokens_per_s:.1f}"
            release = result.release
            if result.release_before not in ("", result.release):
                release = f"{result.release_before} → {result.release}"
            told = result.completion if result.proved else result.reason
            table.add_row(
                result.host, result.outcome, result.mode, result.model, release, told, speed
            )
        Console(stderr=True).print(table)

    def _write(self) -> None:
        EVIDENCE.mkdir(exist_ok=True)
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        deploy = next((Path(a).stem for a in sys.argv[2:] if a.endswith(".py")), "run")
        self.written = EVIDENCE / f"{stamp}-{deploy}.json"
        hosts = [asdict(result) for result in self.results.values()]
        body = {"started": self.started, "exit_code": self.exit_code(), "hosts": hosts}
        self.written.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
        print(f"evidence: {self.written}", file=sys.stderr)


RUN = RunReport()
