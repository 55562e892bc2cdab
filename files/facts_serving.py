"""What the host serves: releases, the model's files, and room for them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from facts import text, text_or_none


def disk(path: str) -> dict[str, Any]:
    """Bytes on the file system that holds `path`, or will hold it once it is made."""
    there = next(str(p) for p in (Path(path), *Path(path).parents) if p.exists())
    size = os.statvfs(there)
    return {"free": size.f_bavail * size.f_frsize, "total": size.f_blocks * size.f_frsize}


def model(wanted: dict[str, str]) -> dict[str, Any]:
    """One revision in the Hub cache: each file with its mark and the blob it links to."""
    folder = Path(wanted["hub"], "models--" + wanted["repo"].replace("/", "--"))
    top = folder / "snapshots" / wanted["revision"]
    found = [path for path in sorted(top.rglob("*")) if path.is_symlink() or path.is_file()]
    return {
        "present": top.is_dir(),
        "files": {
            str(path.relative_to(top)): {
                "mark": mark(path) if path.exists() else None,
                "blob": os.path.basename(os.readlink(path)) if path.is_symlink() else None,
            }
            for path in found
        },
    }


def mark(path: Path) -> list[int]:
    """What `weights.py` remembers a checked file by: inode, size, modification time in ns."""
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def link_target(path: str) -> str | None:
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None


def small_files(folder: str) -> dict[str, str] | None:
    """The texts in a folder (the lock is one, with its owner inside); null when there is none."""
    if not os.path.isdir(folder):
        return None
    return {name: text(os.path.join(folder, name))[:2000] for name in sorted(os.listdir(folder))}


def whole_files(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that lie in the folder, to the last byte."""
    paths = [Path(folder, name) for name in names]
    return {p.name: p.read_text(errors="replace") for p in paths if p.is_file()}


def serving(where: dict[str, Any]) -> dict[str, Any]:
    releases = where.get("releases", "")
    read_json = {n: text_or_none(where[n]) for n in ("activation", "verified") if n in where}
    return {
        "current": link_target(where.get("current", "")),
        "previous": link_target(where.get("previous", "")),
        "releases": sorted(os.listdir(releases)) if os.path.isdir(releases) else [],
        "lock": small_files(where.get("lock", "")),
        "texts": whole_files(where.get("current", ""), where.get("texts", ())),
        "previous_texts": whole_files(where.get("previous", ""), where.get("texts", ())),
        **{name: json.loads(found) if found else None for name, found in read_json.items()},
    }
