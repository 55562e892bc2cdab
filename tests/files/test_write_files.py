"""Files on a host are whole, owned and closed from the first moment, run as the program travels."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploys import programs

OWNER = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"


def write(**request: Any) -> dict[str, Any]:
    source = programs.stdin("write_files", request)
    done = subprocess.run(
        [sys.executable, "-"], input=source, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):o}"


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    text = "quotes \" ' and $dollars, a \\ and\nlines, ümläute\n"
    write(files=[{"path": str(path), "mode": "600", "owner": OWNER, "text": text}])
    assert path.read_text() == text
    assert mode(path) == "600"
    assert os.listdir(path.parent) == ["secret"], "a temporary file was left"


def test_an_existing_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    inode = path.stat().st_ino
    write(files=[{"path": str(path), "mode": "644", "owner": OWNER, "text": "new"}])
    assert path.read_text() == "new" and path.stat().st_ino != inode


def test_directories_links_and_absence(tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("x")
    answer = write(
        directories=[{"path": str(tmp_path / "a" / "b"), "mode": "700", "owner": OWNER}],
        links=[{"path": str(tmp_path / "link"), "target": "a/b"}],
        absent=[str(tmp_path / "gone"), str(tmp_path / "never")],
    )
    assert mode(tmp_path / "a" / "b") == "700"
    assert os.readlink(tmp_path / "link") == "a/b"
    assert answer["written"] == [str(tmp_path / "link"), str(tmp_path / "gone")]


def test_nothing_is_left_when_the_owner_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    spec = {"path": str(path), "mode": "644", "owner": "no-such-user:root", "text": "new"}
    source = programs.stdin("write_files", {"files": [spec]})
    done = subprocess.run([sys.executable, "-"], input=source, capture_output=True, text=True)
    assert done.returncode != 0
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
