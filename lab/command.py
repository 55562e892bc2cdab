"""Runs programs for the lab and turns their failures into one line."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path


class LabError(Exception):
    """One line for the person at the terminal: what, what was found, what to do."""


def run(
    *argv: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> str:
    """Run a program and return its standard output.

    ``env`` replaces the whole environment; ``timeout`` is in seconds. With ``check``, an exit
    status other than 0 raises LabError with the last line of the program's standard error.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=stdin, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: not installed on this machine ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shlex.join(words)}: no end after {timeout:g} s") from error
    if check and done.returncode != 0:
        raise LabError(f"{shlex.join(words)}: exit status {done.returncode}: {last_line(done)}")
    return done.stdout


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that says something, from standard error or else standard output."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else "no output"
