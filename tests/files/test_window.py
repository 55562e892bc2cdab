"""The hours in which a host may download."""

from __future__ import annotations

import datetime

import pytest
from window import seconds_until


@pytest.mark.parametrize(
    ("window", "now", "seconds"),
    [
        (None, "12:00:00", 0),
        ("22:00-06:00", "21:59:30", 30),
        ("22:00-06:00", "22:00:00", 0),
        ("22:00-06:00", "03:00:00", 0),
        ("22:00-06:00", "06:00:00", 16 * 3600),
        ("01:30-04:00", "01:29:59", 1),
        ("01:30-04:00", "03:59:59", 0),
        ("01:30-04:00", "04:00:00", 21.5 * 3600),
    ],
)
def test_seconds_until_it_opens(window: str | None, now: str, seconds: float) -> None:
    at = datetime.datetime.fromisoformat(f"2026-11-24T{now}")
    assert seconds_until(window, at) == seconds
