"""The one way a host program runs another program."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from errors import HostError


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status, and what it wrote."""

    argv: tuple[str, ...]
    rc: int
    out: str
    err: str

    def fault(self) -> str:
        """One line: the command's first words, its exit status, the last line it wrote."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        said = f": {lines[-1].strip()}" if lines else ""
        return f"{' '.join(self.argv[:3])} ended with {self.rc}{said}"


def attempt(argv: Sequence[str], *, timeout: float = 30.0) -> Done:
    """Run ``argv``; raises HostError if it is missing or takes over ``timeout`` seconds."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        raise HostError(f"{argv[0]} is not installed on this host; run deploy.py") from None
    except subprocess.TimeoutExpired:
        what = " ".join(argv[:3])
        raise HostError(f"{what} gave no answer in {timeout:.0f} s; is its daemon hung?") from None
    return Done(tuple(argv), done.returncode, done.stdout, done.stderr)


def run(argv: Sequence[str], *, timeout: float = 30.0) -> str:
    """Like ``attempt``, and raises HostError unless it exits with 0; returns its stdout."""
    done = attempt(argv, timeout=timeout)
    if done.rc != 0:
        raise HostError(done.fault())
    return done.out
