"""Puts a HAProxy configuration in place, whole, after HAProxy itself has found it good.

Runs as `python3 -` on the host. Request: {"folder", "files": {name: text}}. A configuration that
HAProxy refuses changes nothing and ends in one line. Prints {"written": [path]}.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = "haproxy.cfg"
HAPROXY = "/usr/sbin/haproxy"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def complaint(folder: Path) -> str:
    """What HAProxy says against the configuration in ``folder``; "" for nothing."""
    argv = [HAPROXY, "-c", "-q", "-f", str(folder / CONFIG)]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    # It may repeat a line, and a gateway's has the key.
    said = re.sub(r'Bearer [^\s"]+', "Bearer ***", done.stderr.replace(f"{folder}/", ""))
    return "" if done.returncode == 0 else " ".join(said.split())[:600] or "no reason"


def main(request: dict[str, Any]) -> None:
    folder, files = Path(request["folder"]), dict(request["files"])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            write(new, files)
            if said := complaint(new):
                sys.exit(f"haproxy: refuses its configuration, nothing was changed: {said}")
            for name in (n for n in (*sorted(set(files) - {CONFIG}), CONFIG)):
                os.replace(new / name, folder / name)
        finally:
            shutil.rmtree(new)
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}; free or mend the disk")
    print(json.dumps({"written": [str(folder / name) for name in sorted(files)]}))
