"""The typed view of a host's answer."""

from __future__ import annotations

import json

import pytest

from fleet.snapshot import Snapshot, SnapshotError


def test_an_answer_with_unread_groups_and_unknown_keys_is_read() -> None:
    text = json.dumps(
        {"kernels": None, "later": 1, "files": {"/a": None}, "errors": {"kernels": "OSError"}}
    )
    found = Snapshot.parse(f"a line of the login shell\n{text}\n")
    assert found.kernels.boot_default is None
    assert found.files == {}
    assert found.errors == {"kernels": "OSError"}


@pytest.mark.parametrize("text", ["", "Traceback", "[1]", '"text"', '{"host": 3}', "{"])
def test_anything_else_is_told_in_one_line(text: str) -> None:
    with pytest.raises(SnapshotError) as told:
        Snapshot.parse(text)
    assert "\n" not in str(told.value)
    assert "host snapshot" in str(told.value)
