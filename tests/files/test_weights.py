"""A model is served only when every file is as locked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import fetched
import layout
import pytest
import weights
from errors import HostError
from weights import LockedFile, check, set_aside, snapshot_dir

REVISION = "0" * 40
TEXTS = {"config.json": b"{}", "model-00001.safetensors": b"a" * 70000, "sub/tokenizer.json": b"t"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot in Hub cache layout: links to blobs. The record lies in ``tmp_path`` too."""
    monkeypatch.setattr(layout, "VERIFIED", tmp_path / "state" / "verified.json")
    folder = snapshot_dir(tmp_path / "hub", "org/name", REVISION)
    blobs = folder.parent.parent / "blobs"
    blobs.mkdir(parents=True)
    for path, text in TEXTS.items():
        blob = blobs / hashlib.sha256(text).hexdigest()
        blob.write_bytes(text)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(os.path.relpath(blob, (folder / path).parent))
    return folder


def locked() -> list[LockedFile]:
    return [LockedFile(p, len(t), hashlib.sha256(t).hexdigest()) for p, t in TEXTS.items()]


def test_a_whole_model_is_whole_and_remembered(folder: Path) -> None:
    assert check(folder, locked()).whole
    assert set(weights.load_record()[str(folder)]) == set(TEXTS)


def test_a_missing_file_and_a_link_into_nowhere_are_named(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "sub/tokenizer.json").resolve().unlink()
    answer = check(folder, locked())
    assert answer.missing == ("config.json", "sub/tokenizer.json") and not answer.corrupt


def test_wrong_bytes_of_the_right_size_are_found(folder: Path) -> None:
    (folder / "model-00001.safetensors").resolve().write_bytes(b"b" * 70000)
    assert check(folder, locked()).corrupt == ("model-00001.safetensors",)


def test_a_file_known_good_is_not_read_again_unless_asked_to(folder: Path) -> None:
    check(folder, locked())
    blob = (folder / "model-00001.safetensors").resolve()
    times = blob.stat()
    blob.write_bytes(b"b" * 70000)
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert check(folder, locked()).whole, "same inode, size and time: trusted"
    assert check(folder, locked(), deep=True).corrupt == ("model-00001.safetensors",)


def test_a_changed_lock_is_never_met_by_the_record_of_another(folder: Path) -> None:
    check(folder, locked())
    other = [LockedFile("config.json", 2, "f" * 64)]
    assert check(folder, other).corrupt == ("config.json",)


def test_a_bad_blob_is_kept_aside(folder: Path) -> None:
    blob = (folder / "config.json").resolve()
    set_aside(folder, ["config.json"])
    assert not blob.exists() and blob.with_name(blob.name + ".corrupt").exists()
    assert check(folder, locked()).missing == ("config.json",)


@pytest.mark.parametrize("linked", ["model", "snapshots", "commit", "sub"])
def test_nothing_is_removed_behind_a_folder_that_is_a_link(
    folder: Path, tmp_path: Path, linked: str
) -> None:
    model = folder.parent.parent
    found = {"model": model, "snapshots": folder.parent, "commit": folder, "sub": folder / "sub"}
    place = found[linked]
    theirs = tmp_path / "theirs"
    place.rename(theirs)
    place.symlink_to(theirs)
    (folder / "sub/tokenizer.json").unlink()
    (folder / "sub/tokenizer.json").write_bytes(b"x")
    with pytest.raises(HostError) as error:
        set_aside(folder, ["sub/tokenizer.json"])
    assert str(error.value).startswith(f"{place}: found a link to {theirs}, allowed: a folder; ")
    assert (folder / "sub/tokenizer.json").read_bytes() == b"x"


def test_links_in_a_snapshot_and_a_cache_behind_a_link_are_as_ever(folder: Path) -> None:
    hub = folder.parents[2]
    hub.rename(hub.with_name("disk"))
    hub.symlink_to(hub.with_name("disk"))
    set_aside(folder, ["sub/tokenizer.json"])
    assert check(folder, locked()).missing == ("sub/tokenizer.json",)


def test_a_damaged_record_only_costs_a_reading(folder: Path) -> None:
    layout.VERIFIED.parent.mkdir(parents=True)
    layout.VERIFIED.write_text("{broken")
    assert check(folder, locked()).whole


def test_a_link_out_of_the_model_is_taken_away_and_what_it_leads_to_stays(
    folder: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(theirs)
    assert check(folder, locked()).corrupt == ("config.json",)
    assert fetched.blobs(folder) == {
        (folder / path).resolve() for path in ("model-00001.safetensors", "sub/tokenizer.json")
    }
    set_aside(folder, ["config.json"])
    assert theirs.read_bytes() == b"theirs" and not (folder / "config.json").is_symlink()
