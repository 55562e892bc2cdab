"""Run one long job on a host as a transient unit, so that it outlives the SSH connection.

Request: {"unit": name, "argv": [...], "start": bool, "files": [{"path", "text", "mode"}], "after":
[...], "replaces": [...]}. With ``start`` a job that is not running is started, after its files were
written; one that runs already is joined. ``after`` runs when the unit ends by a signal, fails or is
stopped. Prints {"state": "running" | "done" | "failed" | "absent", "exit": int, "line": its last
output line}. The unit of a job that succeeded stays until it is started again. A job that "serves"
is done when it has told systemd that it is ready, goes on then, and is started anew each time;
patterns of units that it "replaces" are stopped before.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator

LOCKS = "/run/vllm-fleet"
KEYS = ("ActiveState", "SubState", "Result", "ExecMainStatus", "InvocationID", "Type")


def _properties(unit: str) -> dict[str, str]:
    argv = ["systemctl", "show", unit, "--property", ",".join(KEYS)]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _state(found: dict[str, str]) -> str:
    if found["ActiveState"] in ("activating", "deactivating", "reloading"):
        return "running"
    if found["ActiveState"] == "active":
        ready = found["SubState"] == "exited" or found.get("Type") == "notify"
        return "done" if ready else "running"
    return "failed" if found["ActiveState"] == "failed" else "absent"


def _last_line(found: dict[str, str]) -> str:
    if not found["InvocationID"]:
        return ""
    match = f"_SYSTEMD_INVOCATION_ID={found['InvocationID']}"
    argv = ["journalctl", "--quiet", "--output=cat", "--lines=1", match]
    lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    return lines[-1][-300:] if lines else ""


def _write(file: dict[str, str]) -> None:
    """Whole or not at all, and never readable for a moment by whom it is not for."""
    new = file["path"] + ".new"
    os.makedirs(os.path.dirname(new), exist_ok=True)
    if os.path.lexists(new):
        os.unlink(new)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(file["text"])
        os.fchmod(out.fileno(), int(file["mode"], 8))
    os.replace(new, file["path"])


def _start(request: dict) -> None:  # type: ignore[type-arg]
    unit = request["unit"]
    for word in ("stop", "reset-failed"):
        replaced = (unit, *request.get("replaces", ()))
        subprocess.run(["systemctl", word, *replaced], capture_output=True, check=False)
    for file in request.get("files", ()):
        _write(file)
    command = ["systemd-run", "--quiet", f"--unit={unit}"]
    if request.get("serves"):
        command += ["--no-block"]
        command += ["--property=Type=notify", "--property=TimeoutStartSec=infinity"]
    else:
        # Stays "active (exited)" after success, so that its end can be told from its absence.
        command += ["--property=RemainAfterExit=yes", "--property=Type=exec"]
    if request.get("after"):
        command.append("--property=ExecStopPost=-" + " ".join(request["after"]))
    done = subprocess.run([*command, "--", *request["argv"]], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"systemd-run ended with {done.returncode}")


@contextlib.contextmanager
def _alone(unit: str) -> Iterator[None]:
    """Two runs that start the same job at once: the second one finds it running."""
    os.makedirs(LOCKS, exist_ok=True)
    with open(f"{LOCKS}/{unit}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(request: dict) -> None:  # type: ignore[type-arg]
    unit = request["unit"]
    with _alone(unit):
        fresh = request.get("serves") or _state(_properties(unit)) != "running"
        if request["start"] and fresh:
            _start(request)
        found = _properties(unit)
    answer = {"state": _state(found), "exit": int(found["ExecMainStatus"] or 0)}
    print(json.dumps({**answer, "line": _last_line(found)}))
