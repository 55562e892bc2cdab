"""Which files remove.py takes for ours, and that those of a person stay."""

from __future__ import annotations

from pathlib import Path

import own_files
import pytest

from fleet import nfs

THEIRS = {
    "a note about us": "# vllm-fleet mounts its models elsewhere\n[Mount]\nWhere=/srv/data\n",
    "our mark further down": "[Mount]\n# Written by vllm-fleet: a change here is lost.\n",
    "another program's": "# Written by vllm-fleets-of-others\n",
    "a word in a path": "[Mount]\nWhat=nas:/vllm-fleet\n",
}


@pytest.mark.parametrize("name", ["srv-models.mount", "data-vllm-fleet.mount"])
@pytest.mark.parametrize("text", THEIRS.values(), ids=list(THEIRS))
def test_a_mount_of_a_person_is_not_ours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert own_files.found([f"{tmp_path}/*.mount"]) == []


def test_what_begins_with_our_mark_is_ours() -> None:
    """Every text of ours that has to be known by it."""
    unit, drop_in = nfs.mount_files("nfs://192.0.2.10/srv/models", "/srv/models").values()
    service = (Path(own_files.__file__).parent / "vllm.service").read_text()
    for text in (unit, drop_in, service, "// Written by spark-vllm-fleet. A userspace newer"):
        assert own_files.MARK.match(text.encode())


def test_a_mount_of_ours_is_found_and_a_link_to_it_is_not(tmp_path: Path) -> None:
    unit, _ = nfs.mount_files("nfs://192.0.2.10/srv/models", "/srv/models").values()
    (tmp_path / "srv-models.mount").write_text(unit)
    (tmp_path / "other.mount").symlink_to("srv-models.mount")
    assert own_files.found([f"{tmp_path}/*.mount"]) == [f"{tmp_path}/srv-models.mount"]
