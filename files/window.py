"""The hours of the day in which a host may download, on the host's own clock."""

from __future__ import annotations

import datetime


def seconds_until(window: str | None, now: datetime.datetime) -> float:
    """Seconds until ``window`` (HH:MM-HH:MM, also over midnight) opens; 0 while it is open."""
    if window is None:
        return 0.0
    opens, closes = (_minutes(part) for part in window.split("-"))
    minute = now.hour * 60 + now.minute
    inside = opens <= minute < closes if opens < closes else minute >= opens or minute < closes
    if inside:
        return 0.0
    return ((opens - minute) % 1440) * 60.0 - now.second - now.microsecond / 1e6


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
