"""systemctl and systemd-run, as far as an activation needs them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import command
import layout


@dataclass(frozen=True)
class Unit:
    """A unit now. ``text`` is what it says of itself (STATUS=)."""

    active: str
    sub: str
    result: str
    text: str
    enabled: bool
    restarts: int

    @property
    def serving(self) -> bool:
        """vllm.service is active only after a real completion."""
        return self.active == "active"

    @property
    def alive(self) -> bool:
        """Running, on its way up or down, or waiting to be restarted."""
        return self.active in ("active", "activating", "deactivating", "reloading")


def show(unit: str = layout.UNIT) -> Unit:
    """The state of ``unit``; one that does not exist is inactive."""
    names = "ActiveState,SubState,Result,StatusText,UnitFileState,NRestarts"
    out = command.run(["systemctl", "show", f"--property={names}", unit])
    said = dict(line.partition("=")[::2] for line in out.splitlines())
    return Unit(
        said.get("ActiveState", ""),
        said.get("SubState", ""),
        said.get("Result", ""),
        said.get("StatusText", ""),
        said.get("UnitFileState") == "enabled",
        int(said.get("NRestarts") or 0),
    )


def begin(verb: str, unit: str = layout.UNIT) -> subprocess.Popen[str]:
    """``systemctl start`` or ``stop``, under way; ends when the job does."""
    return subprocess.Popen(
        ["systemctl", verb, unit],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(unit: str = layout.UNIT, *, timeout: float = 120.0) -> None:
    """Stop ``unit`` and wait until it is stopped."""
    command.attempt(["systemctl", "stop", unit], timeout=timeout)


def enable(unit: str = layout.UNIT) -> None:
    """Start it at boot."""
    command.run(["systemctl", "enable", "--quiet", unit], timeout=60)


def disable(unit: str = layout.UNIT) -> None:
    """Do not start it at boot."""
    command.run(["systemctl", "disable", "--quiet", unit], timeout=60)


def reset_failed(unit: str = layout.UNIT) -> None:
    """Forget failures and start limits; a unit that is not loaded has none."""
    command.attempt(["systemctl", "reset-failed", unit])


def booting() -> bool:
    """Whether the boot still has jobs to run."""
    said = command.attempt(["systemctl", "is-system-running"]).out.strip()
    return said in ("initializing", "starting")


def launch_activation() -> None:
    """Run the waiting activation as a unit of its own: a lost connection does not end it.

    Killed, it is started again and takes up where it was. Raises HostError if systemd refuses.
    """
    reset_failed(layout.ACTIVATE_UNIT)
    command.run(
        [
            "systemd-run",
            f"--unit={layout.ACTIVATE_UNIT}",
            "--collect",
            "--quiet",
            "--property=Type=exec",
            "--property=Restart=on-failure",
            "--property=RestartSec=1",
            "--property=StartLimitIntervalSec=600",
            "--property=StartLimitBurst=5",
            "--property=SyslogIdentifier=vllm-activate",
            "/usr/bin/python3",
            "-B",
            str(layout.PROGRAMS / "activate.py"),
            "run",
        ]
    )
