"""The file in which a run keeps what it showed."""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from deploys import invocation

if TYPE_CHECKING:
    from deploys.report import RunReport

EVIDENCE = Path("evidence")


def write_evidence(run: RunReport) -> str:
    """The closing table and more, as JSON, in a file of its own for every run; where it lies."""
    now = datetime.datetime.now(datetime.UTC)
    path = EVIDENCE / f"{now.strftime('%Y%m%dT%H%M%S.%fZ')}-{invocation.program()}.json"
    body = {
        "started": run.started,
        "finished": now.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - run.began, 1),
        "who": getpass.getuser(),
        "origin": socket.gethostname(),
        "run": invocation.program(),
        "exit_code": run.exit_code(),
        "hosts": [asdict(result) for result in run.results.values()],
        "preflight": {name: [asdict(f) for f in found] for name, found in run.findings.items()},
    }
    try:
        EVIDENCE.mkdir(exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
        os.replace(new, path)
    except OSError as error:
        return f"not written, {error}"
    return str(path)
