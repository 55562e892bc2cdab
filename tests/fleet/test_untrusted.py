"""What others wrote steers no terminal."""

from __future__ import annotations

import json

import pytest

from fleet.snapshot import Snapshot
from fleet.untrusted import steerless

CLEAR = "\x1b[2J\x1b]0;owned\x07"


def test_what_steers_a_terminal_goes_and_lines_stay() -> None:
    found = steerless({f"a{CLEAR}": [f"1\t2\n{CLEAR}", 3, None, "\u202egnp.exe", "\x9b2J é €"]})
    assert list(found) == ["a [2J ]0;owned "]
    assert list(found.values()) == [["1\t2\n [2J ]0;owned ", 3, None, " gnp.exe", " 2J é €"]]


@pytest.mark.parametrize("text", ["é", "plain", "\n\t", "日本語"])
def test_what_steers_none_is_as_it_was(text: str) -> None:
    assert steerless(text) == text


def test_a_hosts_facts_steer_none() -> None:
    said = json.dumps({"errors": {"docker": f"no {CLEAR}"}})
    assert Snapshot.parse(said).errors == {"docker": "no  [2J ]0;owned "}
