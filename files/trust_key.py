"""Fetch a repository's key and store it only if it is the one that is pinned.

Runs as `python3 -` on the host. Request: {"url", "fingerprint" (40 hex digits), "path"}. The file
must hold exactly one primary key. Exit status 1 and one line otherwise; nothing is stored then.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import urllib.request
from typing import Any

MAX_BYTES = 1 << 20
TIMEOUT_S = 60


def primary_keys(key: bytes) -> list[str]:
    """Fingerprints of the primary keys in an armored or binary key file."""
    with tempfile.TemporaryDirectory() as home:
        argv = ["gpg", "--homedir", home, "--batch", "--with-colons", "--show-keys"]
        done = subprocess.run(argv, input=key, capture_output=True, check=True)
    lines = [line.split(":") for line in done.stdout.decode(errors="replace").splitlines()]
    following = itertools.pairwise(lines)
    return [below[9] for line, below in following if (line[0], below[0]) == ("pub", "fpr")]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        found: bytes = answer.read(MAX_BYTES)
        return found


def store(path: str, key: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".key.")
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        os.fchmod(file.fileno(), 0o644)
    os.replace(new, path)


def main(request: dict[str, Any]) -> None:
    url, wanted = request["url"], request["fingerprint"]
    try:
        key = fetch(url)
        found = primary_keys(key)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{url}: no key to be had ({error}); check the address and the network")
    if found != [wanted]:
        told = ", ".join(found) or "no key"
        sys.exit(
            f"{url}: found {told}, wanted {wanted}; not trusted. "
            "Compare with the vendor's published fingerprint before changing the pin"
        )
    store(request["path"], key)
    print('{"stored": true}')
