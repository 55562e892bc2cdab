"""What a run leaves behind: a file of the run, one of every host, and the table of proofs."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploys import invocation

if TYPE_CHECKING:
    from deploys.report import HostResult, RunReport

EVIDENCE = Path("evidence")
WORDS = {"shown": "shown", "refuted": "REFUTED", "unknown": "cannot be known"}
SHORT = 90  # characters of a line in the table; the files have all


def write_evidence(run: RunReport) -> str:
    """The closing table and more, as JSON, in files of their own for every run; where it lies.

    ``<when>-<program>.json`` has the run, the folder of the same name a file for every host.
    """
    now = datetime.datetime.now(datetime.UTC)
    path = EVIDENCE / f"{now.strftime('%Y%m%dT%H%M%S.%fZ')}-{invocation.program()}.json"
    head = {
        "started": run.started,
        "finished": now.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - run.began, 1),
        **invocation.operator(),
        "run": invocation.program(),
        "exit_code": run.exit_code(),
    }
    preflight = {name: [asdict(f) for f in found] for name, found in run.findings.items()}
    hosts = [asdict(result) for result in run.results.values()]
    try:
        path.with_suffix("").mkdir(parents=True)
        for host in hosts:
            of_host = {**head, **host, "preflight": preflight.get(host["host"], [])}
            _write(path.with_suffix("") / f"{host['host']}.json", of_host)
        _write(path, {**head, "hosts": hosts, "preflight": preflight})
    except OSError as error:
        return f"not written, {error}"
    return str(path)


def _write(path: Path, body: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    os.replace(new, path)


def proof_columns(results: Sequence[HostResult]) -> list[tuple[str, list[str]]]:
    """The table of proofs; hosts of which the same is known share their rows."""
    alike: dict[str, list[HostResult]] = {}
    for result in results:
        if result.proofs:
            same = [[p["name"], p["claimed"], p["verdict"], p["found"]] for p in result.proofs]
            alike.setdefault(json.dumps(same), []).append(result)
    rows = [(_names(same), proof) for same in alike.values() for proof in same[0].proofs]
    return [
        ("hosts", [names for names, _ in rows]),
        ("proof", [proof["name"] for _, proof in rows]),
        ("verdict", [WORDS[proof["verdict"]] for _, proof in rows]),
        ("claimed", [_short(proof["claimed"]) for _, proof in rows]),
        ("found", [_short(proof["found"]) for _, proof in rows]),
        ("rests on", [_short(proof["line"]) for _, proof in rows]),
    ]


def _names(results: Sequence[HostResult]) -> str:
    more = f" and {len(results) - 1} more" if len(results) > 1 else ""
    return f"{results[0].host}{more}"


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
