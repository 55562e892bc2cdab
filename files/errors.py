"""Errors that a person reads on one line, and the one place where an exception ends a program."""

from __future__ import annotations

import sys
import syslog
import traceback
from collections.abc import Callable, Sequence

FAILED = 1
REFUSED = 78  # sysexits EX_CONFIG; vllm.service does not restart after it


class HostError(Exception):
    """Something went wrong; its text is one line: what, found, allowed, remedy."""

    code = FAILED

    def __init__(self, text: str, log: Sequence[str] = ()) -> None:
        """``log``: the last lines of what failed, for whoever reports it."""
        super().__init__(text)
        self.log = tuple(log)


class Refused(HostError):
    """Trying again cannot help: a person or another release is needed."""

    code = REFUSED


def exit_code(program: str, main: Callable[[], int]) -> int:
    """Run ``main``; on an error print one line to stderr and return its exit code.

    The traceback of an error that nobody foresaw goes to the journal, not to the person.
    """
    try:
        return main()
    except HostError as error:
        print(f"{program}: {error}", file=sys.stderr, flush=True)
        return error.code
    except Exception as error:
        syslog.openlog(program)
        for line in traceback.format_exc().splitlines():
            syslog.syslog(syslog.LOG_ERR, f"{program}: {line}")
        fault = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"{program}: unexpected {fault}; see journalctl -t {program}", file=sys.stderr)
        return FAILED
