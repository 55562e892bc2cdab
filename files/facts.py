"""What every reader of facts needs: commands, texts, and errors that hide nothing else."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND_S = 20


class Errors(dict[str, str]):
    def fact(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` returns; null and an entry here when it raises, whatever it raises."""
        try:
            return read()
        except Exception as error:
            self[name] = f"{type(error).__name__}: {error}"[:300]
            return None


def text(path: str) -> str:
    return Path(path).read_text(errors="replace").strip()


def text_or_none(path: str) -> str | None:
    """The text of a file that may rightly be absent."""
    return text(path) if os.path.exists(path) else None


def start(*argv: str) -> subprocess.Popen[str] | None:
    """Start a reading command; None when the host has no such program."""
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment
        )
    except FileNotFoundError:
        return None


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it said (stdout, or stderr when stdout is empty)."""
    try:
        out, err = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, f"no answer within {COMMAND_S} s"
    return process.returncode, (out.strip() or err.strip())


def answer(program: str, process: subprocess.Popen[str] | None) -> str:
    """What a started program said; raises when it is not there, fails, or says nothing in time."""
    if process is None:
        raise FileNotFoundError(f"no program {program}")
    status, said = finish(process)
    if status:
        raise OSError(said)
    return said


def assignments(lines: str) -> dict[str, str]:
    """KEY="value" lines; the last of several wins."""
    pairs = (line.split("=", 1) for line in lines.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip('"') for key, value in pairs}
