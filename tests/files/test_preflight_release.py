"""A model that is not whole is never served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import layout
import pytest
import weights
from errors import Refused
from preflight_release import require_whole
from weights import LockedFile

REVISION = "0" * 40


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was asked for, and a whole model."""
    monkeypatch.setattr(layout, "VERIFIED", tmp_path / "verified.json")
    text = b"weights"
    file = {"path": "model.bin", "size": 7, "sha256": hashlib.sha256(text).hexdigest()}
    folder = weights.snapshot_dir(tmp_path / "hub", "org/name", REVISION)
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(text)
    weights.check(folder, [LockedFile(**file)])  # type: ignore[arg-type]
    request = {
        "hub": str(tmp_path / "hub"),
        "repo": "org/name",
        "revision": REVISION,
        "files": [file],
        "image": "i",
        "endpoint": "https://hub.example",
        "token_file": "/none",
    }
    path = tmp_path / "models--org--name" / f"{REVISION}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(request))
    return path


def test_a_whole_model_may_be_served(wanted: Path) -> None:
    require_whole(wanted)


def test_a_file_that_changed_or_went_stops_the_switch(wanted: Path, tmp_path: Path) -> None:
    [file] = tmp_path.glob("hub/*/snapshots/*/model.bin")
    file.write_bytes(b"other w")
    with pytest.raises(
        Refused, match=r"org/name: 1 files are not as they were checked: model\.bin"
    ):
        require_whole(wanted)
    file.unlink()
    with pytest.raises(Refused, match=r"model\.bin"):
        require_whole(wanted)
