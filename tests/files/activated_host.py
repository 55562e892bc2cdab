"""Folders in place of a host's own, and a systemctl that keeps one unit's state in a file."""

from __future__ import annotations

import json
from pathlib import Path

import hostlock
import layout
import pytest
from phases import Activation

A, B = "a" * 12, "b" * 12
SYSTEMCTL = """\
#!/bin/sh
cd {folder}
echo "$*" >> asked
case $1 in
show) echo "ActiveState=$(cat active)"; echo UnitFileState=disabled;;
start) exit "$(cat start_ends)";;
stop) sleep "$(cat stop_takes)"; echo inactive > active;;
esac
"""
PLACES = {
    **{"RELEASES": "etc/releases", "CURRENT": "etc/current", "PREVIOUS": "etc/previous"},
    **{"ACTIVATION": "state/activation.json", "ACTIVATION_LIVE": "run/activation.json"},
    **{"STARTS": "state/starts.json", "FAILURE": "state/failure.json", "LOCK": "run/lock"},
    "SERVING": "run/serving.json",
}


class ActivatedHost:
    """A folder with releases a and b; ``unit`` says how systemd's part goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "etc", "state", "run"):
            (folder / name).mkdir()
        for name in ("systemctl", "systemd-run"):
            program = folder / "bin" / name
            program.write_text(SYSTEMCTL.format(folder=folder))
            program.chmod(0o755)
        self.unit()

    def unit(self, active: str = "inactive", start_ends: int = 0, stop_takes: int = 0) -> None:
        """Its state; the exit status of a start; how many seconds a stop takes."""
        for name, value in [("active", active), ("start_ends", start_ends),
                            ("stop_takes", stop_takes)]:  # fmt: skip
            (self.folder / name).write_text(str(value))

    def asked(self) -> list[str]:
        """What systemd was told to do."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith("show ")]

    def stage(self, digest: str, drain_timeout_s: int = 0) -> None:
        facts: dict[str, object] = {
            "digest": digest, "mode": "m", "model": "org/name", "revision": "0" * 40,
            "image": "i@sha256:0", "served_name": "n", "listen": "127.0.0.1", "port": 8000,
            "ready_timeout_s": 5, "drain_timeout_s": drain_timeout_s, "stall_timeout_s": 5,
            "memory_needed_kib": 0,
        }  # fmt: skip
        (layout.RELEASES / digest).mkdir(parents=True)
        (layout.RELEASES / digest / "release.json").write_text(json.dumps(facts))


def activated_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatedHost:
    """Until the test ends the host programs see ``folder`` as their host."""
    for name, place in PLACES.items():
        monkeypatch.setattr(layout, name, folder / place)
    monkeypatch.setattr(hostlock, "OWNER", layout.LOCK / "owner.json")
    host = ActivatedHost(folder)
    monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
    for digest in (A, B):
        host.stage(digest)
    return host


def begun(release: str, before: str | None, boot_id: str = "") -> Activation:
    """An activation of this boot, or of another."""
    return Activation(
        *("1", release, before, None, "ann", "desk", "test", boot_id or hostlock.boot_id()),
        started=1.0,
    )
