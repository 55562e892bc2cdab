"""Write files on a host, each whole or not at all. Sent over stdin, so no content is in an argv.

Request: {"files": [{"path", "mode" (octal text), "text" (or null: only mode and owner),
"owner": "user:group"}], "directories": [{"path", "mode", "owner"}], "links": [{"path", "target"}],
"absent": [path]}. An empty owner leaves it as it is. Prints {"written": [path]}.
"""

import json
import os
import shutil
import sys
import tempfile
from typing import Any

Spec = dict[str, Any]


def _own(path: str, spec: Spec) -> None:
    user, _, group = spec.get("owner", "root:root").partition(":")
    if user:
        shutil.chown(path, user, group)
    os.chmod(path, int(spec["mode"], 8))


def _write(spec: Spec) -> None:
    path = spec["path"]
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # mkstemp makes it 0600: a secret is never readable by others, not even for a moment.
    handle, new = tempfile.mkstemp(dir=folder, prefix="." + os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(spec["text"])
            file.flush()
            os.fsync(file.fileno())
        _own(new, spec)
        os.replace(new, path)
    except BaseException as error:
        os.unlink(new)
        if isinstance(error, OSError):  # a write's own error names no file
            raise OSError(error.errno, error.strerror, path) from None
        raise


def _link(spec: Spec) -> None:
    new = spec["path"] + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(spec["target"], new)
    os.replace(new, spec["path"])


def main(request: Spec) -> None:
    try:
        print(json.dumps({"written": _all(request)}))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}; free or mend the disk")


def _all(request: Spec) -> list[str]:
    written = []
    for spec in request.get("directories", []):
        os.makedirs(spec["path"], exist_ok=True)
        _own(spec["path"], spec)
    for spec in request.get("files", []):
        if spec.get("text") is None:
            _own(spec["path"], spec)
        else:
            _write(spec)
        written.append(spec["path"])
    for spec in request.get("links", []):
        _link(spec)
        written.append(spec["path"])
    for path in request.get("absent", []):
        if os.path.lexists(path):
            os.unlink(path)
            written.append(path)
    return written
