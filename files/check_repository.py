"""Is a vendor's apt repository the one that is pinned, and does it have the pinned packages?

Runs as `python3 -` on the host. Request: {"repositories": [{"key_url", "fingerprint" (40 hex
digits), "keyring" (path), "source" (deb822 text)}], "packages": {name: version}, "extra_ca" (PEM
or null), "store": bool}. Everything is tried in a temporary folder with an apt of its own; with
"store" the keys are then put in place. Exit status 1 and one line when something does not fit.
"""

import fnmatch
import itertools
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
TIMEOUT_S = 60
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
Repository = dict[str, str]


def primary_keys(key: bytes, home: Path) -> list[str]:
    """Fingerprints of the primary keys in an armored or binary key file."""
    argv = ["gpg", "--homedir", str(home), "--batch", "--with-colons", "--show-keys"]
    done = subprocess.run(argv, input=key, capture_output=True, check=True)
    lines = [line.split(":") for line in done.stdout.decode(errors="replace").splitlines()]
    following = itertools.pairwise(lines)
    return [below[9] for line, below in following if (line[0], below[0]) == ("pub", "fpr")]


def fetch(url: str, bundle: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(bundle))
    with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:
        found: bytes = answer.read(MAX_BYTES)
        return found


def key_of(repository: Repository, folder: Path) -> bytes:
    """The repository's key, if it is the pinned one and the only one in its file."""
    url, wanted = repository["key_url"], repository["fingerprint"]
    try:
        key = fetch(url, folder / "bundle.crt")
        found = primary_keys(key, folder)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{url}: found no key ({error}); check the address, the network, and extra_ca")
    if found != [wanted]:
        sys.exit(
            f"{url}: found key {', '.join(found) or 'none'}, wanted {wanted}; not trusted. "
            "Compare with the fingerprint the vendor publishes before changing the pin"
        )
    return key


def try_out(repositories: list[Repository], folder: Path, packages: dict[str, str]) -> None:
    """Read the repositories as apt would, with nothing of the host's own apt touched."""
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(folder / "sources"),
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": str(folder / "lists"),
        "Dir::Cache": str(folder / "cache"),
        "Acquire::https::CAInfo": str(folder / "bundle.crt"),
        "APT::Sandbox::User": "root",  # the folder is ours alone
        "APT::Update::Error-Mode": "any",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    status, said = run("apt-get", *words, "-q", "update")
    if status:
        urls = ", ".join(re.findall(r"^URIs: (\S+)", "\n".join(map(source, repositories)), re.M))
        told = "; ".join(dict.fromkeys(re.findall(r"^(?:E|W): (.*)$", said, re.M))) or said[-300:]
        sys.exit(f"apt source {urls}: refused by apt: {told[:500]}; nothing was changed")
    for name, wanted in sorted(packages.items()):
        listed = [x.split("|") for x in run("apt-cache", *words, "madison", name)[1].splitlines()]
        there = sorted({row[1].strip() for row in listed if len(row) > 1})
        if not fnmatch.filter(there, wanted):
            told = ", ".join(there) or "none"
            sys.exit(f"{name}: found versions {told}, wanted {wanted}; correct the pin")


def source(repository: Repository) -> str:
    return repository["source"]


def run(*argv: str) -> tuple[int, str]:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def store(path: str, key: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".key.")
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        os.fchmod(file.fileno(), 0o644)
    os.replace(new, path)


def main(request: dict[str, Any]) -> None:
    repositories: list[Repository] = request["repositories"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("sources", "lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "bundle.crt").write_text(BUNDLE.read_text() + (request["extra_ca"] or ""))
        keys = [key_of(repository, folder) for repository in repositories]
        for number, (repository, key) in enumerate(zip(repositories, keys, strict=True)):
            (folder / f"{number}.asc").write_bytes(key)
            text = source(repository).replace(repository["keyring"], str(folder / f"{number}.asc"))
            (folder / "sources" / f"{number}.sources").write_text(text)
        try_out(repositories, folder, request["packages"])
        for repository, key in zip(repositories, keys, strict=True) if request["store"] else ():
            store(repository["keyring"], key)
    print('{"ok": true}')
