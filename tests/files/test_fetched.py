"""Which commits of a model go: ours, and never one that a person fetched beside it."""

from __future__ import annotations

import os
from pathlib import Path

import fetched
import layout
import pytest
import unneeded
from errors import HostError

OURS, OLD, THEIRS = "a" * 40, "b" * 40, "c" * 40
COMMITS = {OURS: ("shared", "ours"), OLD: ("shared", "old"), THEIRS: ("shared", "theirs")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with two commits of ours and one of a person."""
    monkeypatch.setattr(layout, "MODELS", tmp_path / "models")
    folder = tmp_path / "hub" / "models--org--name"
    (folder / "blobs").mkdir(parents=True)
    for commit, names in COMMITS.items():
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for name in names:
            (folder / "blobs" / name).write_text(name)
            (snapshot / name).symlink_to(f"../../blobs/{name}")
    for commit in (OURS, OLD):
        note = fetched.record(folder / "snapshots" / commit)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("{}")
    return folder


def left(folder: Path) -> tuple[set[str], set[str]]:
    """The commits and the blobs that are still there."""
    commits = {path.name[0] for path in folder.glob("snapshots/*")}
    return commits, {path.name for path in folder.glob("blobs/*")}


def test_of_a_model_that_a_person_uses_too_our_commits_go_one_by_one(folder: Path) -> None:
    found = list(fetched.model(folder))
    assert [thing.text[:32] for thing in found] == [
        f"weights {folder.name} at {commit[:3]}" for commit in (OURS, OLD)
    ]
    for thing in found:
        thing.remove()
    assert left(folder) == ({"c"}, {"shared", "theirs"})
    assert list(fetched.model(folder)) == []


def test_a_commit_that_nobody_of_ours_needs_is_pruned_and_theirs_is_not(folder: Path) -> None:
    (folder / "blobs" / "x.corrupt").touch()
    for thing in fetched.commits(folder, lambda snapshot: snapshot.name == OURS):
        thing.remove()
    assert left(folder) == ({"a", "c"}, {"shared", "ours", "theirs"})
    assert not fetched.record(folder / "snapshots" / OLD).exists()


def test_a_model_of_ours_alone_goes_as_a_whole(folder: Path) -> None:
    fetched.record(folder / "snapshots" / THEIRS).write_text("{}")
    [thing] = fetched.model(folder)
    assert thing.text == f"weights {folder.name}"
    thing.remove()
    assert not folder.exists()


def test_with_its_last_commit_a_model_and_our_record_of_it_go(folder: Path) -> None:
    fetched.record(folder / "snapshots" / THEIRS).write_text("{}")
    for thing in fetched.commits(folder, lambda snapshot: False):
        thing.remove()
    assert not folder.exists() and not list(layout.MODELS.iterdir())


@pytest.mark.parametrize(("look", "found"), [(True, 2), (False, 0)])
def test_prune_looks_at_weights_only_when_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: bool, found: int
) -> None:
    docker = tmp_path / "bin" / "docker"  # one that has nothing
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(layout, "RELEASES", tmp_path / "releases")
    request = {"weights": look, "hub": str(folder.parent), "snapshots": [], "image": "x@sha256:0"}
    assert len(unneeded.things(request)) == found


@pytest.mark.parametrize("linked", ["", "blobs", "snapshots", f"snapshots/{OLD}"])
def test_nothing_goes_by_a_link(folder: Path, tmp_path: Path, linked: str) -> None:
    place, theirs = folder / linked, tmp_path / "elsewhere"
    place.rename(theirs)
    place.symlink_to(theirs)
    with pytest.raises(HostError, match=f"{place}: found a link to {theirs}, allowed: a folder; "):
        list(fetched.model(folder))
