"""Packages, apt's sources, files and units."""

import fnmatch
import glob
import grp
import hashlib
import os
import pwd
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from facts import answer, assignments, text

UNIT_FIELDS = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "Result"),
    *("ConditionResult", "ConditionTimestampMonotonic", "ActiveEnterTimestampMonotonic"),
    "StateChangeTimestampMonotonic",
)
SETTLED = ("installed", "config-files", "not-installed")


def stanzas(names: Iterable[str]) -> Iterator[dict[str, str]]:
    """dpkg's own record; `names` may hold shell patterns."""
    wanted = re.compile("|".join(map(fnmatch.translate, names)) or "(?!)")
    for stanza in Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n"):
        if found := re.match(r"\s*Package: (\S+)\nStatus: (\S+) (\S+) (\S+)", stanza):
            name, selection, flag, state = found.groups()
            if wanted.fullmatch(name) or flag != "ok" or state not in SETTLED:
                version = re.search(r"^Version: (\S+)", stanza, re.MULTILINE)
                kept = version[1] if version else ""
                yield {
                    "name": name,
                    "hold": selection,
                    "flag": flag,
                    "status": state,
                    "version": kept,
                }


def packages(names: Iterable[str]) -> dict[str, Any]:
    """Versions and holds; what dpkg left half done; whether it was interrupted altogether."""
    found = list(stanzas(names))
    return {
        "packages": {
            p["name"]: {
                "version": p["version"] if p["status"] == "installed" else None,
                "status": p["status"],
                "hold": p["hold"] == "hold",
            }
            for p in found
        },
        "dpkg_unsettled": [
            f"{p['name']} {p['status']}"
            for p in found
            if p["flag"] != "ok" or p["status"] not in SETTLED
        ]
        + [f"interrupted: {name}" for name in os.listdir("/var/lib/dpkg/updates")],
    }


def apt_sources(needles: Iterable[str]) -> dict[str, str]:
    """The apt source files that mention one of `needles` (vendors' names), with their text."""
    folder = "/etc/apt/sources.list.d/*"
    paths = ["/etc/apt/sources.list", *glob.glob(folder + ".list"), *glob.glob(folder + ".sources")]
    texts = {path: text(path) for path in sorted(paths) if os.path.exists(path)}
    return {path: body for path, body in texts.items() if any(n in body for n in needles)}


def file_state(path: str) -> dict[str, Any] | None:
    """Kind, mode, owner and sum of one path (links are not followed); null when there is none."""
    if not os.path.lexists(path):
        return None
    status = os.lstat(path)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    return {
        "kind": kind,
        "mode": f"{stat.S_IMODE(status.st_mode):o}",
        "owner": name_of(status.st_uid, lambda uid: pwd.getpwuid(uid).pw_name),
        "group": name_of(status.st_gid, lambda gid: grp.getgrgid(gid).gr_name),
        "size": status.st_size,
        "mtime": status.st_mtime,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest() if kind == "file" else None,
        "target": os.readlink(path) if kind == "link" else None,
    }


def name_of(number: int, look_up: Callable[[int], str]) -> str:
    try:
        return look_up(number)
    except KeyError:
        return str(number)


def units(names: list[str], show: subprocess.Popen[str] | None) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    blocks = answer("systemctl", show).split("\n\n")
    if len(blocks) != len(names):
        raise ValueError(f"systemctl told of {len(blocks)} units, asked for {len(names)}")
    found = {name: assignments(block) for name, block in zip(names, blocks, strict=True)}
    return {name: {**fields, **times(fields)} for name, fields in found.items()}


def times(fields: dict[str, str]) -> dict[str, Any]:
    """When it started and last changed, a reload included, by the wall clock; and whether its
    conditions kept it off."""
    entered = int(fields.get("ActiveEnterTimestampMonotonic", "0"))
    changed = int(fields.get("StateChangeTimestampMonotonic", "0"))
    offset = time.time() - time.monotonic()
    asked = fields.get("ConditionTimestampMonotonic", "0") != "0"
    return {
        "started": offset + entered / 1e6 if entered else None,
        "changed": offset + changed / 1e6 if changed else None,
        "unwanted_here": asked and fields.get("ConditionResult") == "no",
    }
