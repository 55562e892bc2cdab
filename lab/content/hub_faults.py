"""Faults of the Hub stand-in: a JSON file of rules, read again whenever it changes.

[{"match": "resolve/.*model-00003", "do": "truncate", "bytes": 5000, "times": 2}, …]; the first rule
that fits a request's path and has ``times`` left applies. ``match`` is a regular expression.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("status", "drop", "truncate", "reset", "slow", "corrupt", "hang")


@dataclass
class Rule:
    """What to do to which requests.

    status: answer ``status``; drop: hang up before answering; truncate: hang up after ``bytes``
    of the body; reset: the same by a TCP reset (which the gate cannot pass on: its clients see an
    end); slow: ``rate`` bytes/s; corrupt: the first byte is wrong; hang: answer nothing for
    ``seconds``.
    """

    match: str
    do: str
    status: int = 503
    bytes: int = 1024
    rate: float = 100_000.0
    seconds: float = 3600.0
    times: int = 1 << 30
    method: str = ""
    used: int = field(default=0, init=False)


class Faults:
    """The rules in force."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def pick(self, method: str, path: str) -> Rule | None:
        """The rule for this request, counted as used."""
        with self._lock:
            self._refresh()
            for rule in self._rules:
                fits = re.search(rule.match, path) and rule.method in ("", method)
                if fits and rule.used < rule.times:
                    rule.used += 1
                    return rule
        return None

    def _refresh(self) -> None:
        try:
            status = self._path.stat() if self._path else None
        except FileNotFoundError:
            status = None
        seen = (status.st_mtime_ns, status.st_ino) if status else None
        if seen != self._seen:
            self._rules = read(self._path) if self._path and seen else []
            self._seen = seen


def read(path: Path) -> list[Rule]:
    """The rules of a file; ValueError names the first wrong one."""
    raw: list[dict[str, Any]] = json.loads(path.read_text())
    rules = []
    for number, each in enumerate(raw, 1):
        if each.get("do") not in KINDS:
            raise ValueError(f"{path}: rule {number}: do: found {each.get('do')!r}, one of {KINDS}")
        rules.append(Rule(**each))
    return rules
