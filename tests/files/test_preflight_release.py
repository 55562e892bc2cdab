"""A model that is not whole is neither switched to nor started."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import layout
import pytest
import weights
from errors import HostError, Refused
from preflight_release import require_locked, require_whole
from release import Release
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
    monkeypatch.setattr(layout, "MODELS", tmp_path / "models")
    monkeypatch.setattr(layout, "RELEASES", tmp_path / "releases")
    request = {
        "hub": str(tmp_path / "hub"),
        "repo": "org/name",
        "revision": REVISION,
        "files": [file],
        "image": "i",
        "endpoint": "https://hub.example",
        "token_file": "/none",
    }
    path = tmp_path / "models/models--org--name" / f"{REVISION}.json"
    path.parent.mkdir(parents=True)
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


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """One that reads the model."""
    found = Release("d", "m", "org/name", REVISION, "i", "n", "127.0.0.1", 8000, 1, 1, 1, 0)
    (tmp_path / "releases/d").mkdir(parents=True)
    text = f"model: /hub/models--org--name/snapshots/{REVISION}\n"
    (tmp_path / "releases/d/vllm.yaml").write_text(text)
    return found


def test_a_start_reads_only_what_changed(wanted: Path, release: Release, tmp_path: Path) -> None:
    read: list[int] = []
    require_locked(release, read.append)
    assert read == []
    [file] = tmp_path.glob("hub/*/snapshots/*/model.bin")
    file.write_bytes(b"weights")  # another time of change, the same bytes
    require_locked(release, read.append)
    assert read == [7]
    require_whole(wanted)


def test_a_start_with_other_bytes_is_refused(
    wanted: Path, release: Release, tmp_path: Path
) -> None:
    [file] = tmp_path.glob("hub/*/snapshots/*/model.bin")
    file.write_bytes(b"other w")
    told = r"org/name: 1 of 1 files are missing or not as locked: model\.bin"
    with pytest.raises(HostError, match=told):
        require_locked(release, lambda _: None)
    file.unlink()
    with pytest.raises(HostError, match=told):
        require_locked(release, lambda _: None)
