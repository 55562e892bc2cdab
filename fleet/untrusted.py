"""Typed access to JSON that anybody may have written: a mistake is one line, never a traceback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleet.problems import SettingsError, shown

# C0 and C1 but for tab and line feed, and what turns the direction of writing.
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def steerless(value: Any) -> Any:
    """A JSON value without what steers a terminal in any of its texts."""
    if isinstance(value, str):
        return _STEERS.sub(" ", value)
    if isinstance(value, dict):
        return {steerless(key): steerless(inner) for key, inner in value.items()}
    return [steerless(inner) for inner in value] if isinstance(value, list) else value


def printable(text: str, most: int = 600) -> str:
    """``text`` as one bounded line that steers no terminal."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


class Reader:
    """Typed access to a JSON object that anybody may have written."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.values = values
        self.place = place

    def whole(self, key: str, most: int = 1 << 40) -> int | None:
        """A whole number from 1 to ``most``, or None where the key is absent, null or 0."""
        value = self.values.get(key)
        if value is None or value == 0:
            return None
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, value, f"a whole number from 1 to {most}")
        return value

    def need(self, key: str) -> int:
        value = self.whole(key)
        if value is None:
            raise self.wrong(key, self.values.get(key), "a whole number")
        return value

    def first(self, *keys: str) -> int | None:
        found = (self.whole(key, most=100_000) for key in keys)
        return next((value for value in found if value), None)

    def word(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", value, re.A):
            raise self.wrong(key, value, "one word")
        return value

    def wrong(self, key: str, found: object, allowed: str) -> SettingsError:
        return SettingsError(f"{self.place}: {key}: found {shown(found)}, allowed: {allowed}")


def mapping(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SettingsError(f"{place}: found {shown(value)}, allowed: a JSON object")
    return value
