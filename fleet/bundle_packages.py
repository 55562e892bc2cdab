"""The apt part of a bundle: the repositories' own signed indices, and every package with what it
depends on. apt itself chooses and checks them, in a folder of its own, for the hosts' architecture.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from fleet import host_files, host_packages, nfs
from fleet.bundle import Bundle, Entry
from fleet.bundle_apt import Apt
from fleet.bundle_fetch import Wanted, fetch, keep
from fleet.host_files import Repository
from fleet.http import Client
from fleet.problems import SettingsError
from fleet.settings import Settings

UBUNTU_KEYRING = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
_URIS = {
    "arm64": ("http://ports.ubuntu.com/ubuntu-ports/",) * 2,
    "amd64": ("http://archive.ubuntu.com/ubuntu/", "http://security.ubuntu.com/ubuntu/"),
}
RELEASES = ("InRelease", "Release", "Release.gpg")
COMPRESSED = (".xz", ".gz", "")
_KEY_LIMIT = 1 << 20  # bytes
_CHOSEN = re.compile(r"'(?P<uri>[^']+)' \S+ (?P<size>\d+) SHA256:(?P<digest>[0-9a-f]{64})")


def base_sources(arch: str) -> str:
    """A plain Ubuntu 24.04 host's own repositories, as its installer writes them."""
    ours, security = _URIS[arch]
    rest = f"Components: main restricted universe multiverse\nSigned-By: {UBUNTU_KEYRING}\n"
    return (
        f"Types: deb\nURIs: {ours}\nSuites: noble noble-updates\n{rest}\n"
        f"Types: deb\nURIs: {security}\nSuites: noble-security\n{rest}"
    )


def wanted_sets(settings: Settings) -> list[Mapping[str, str | None]]:
    """What the steps of deploy.py install on plain Ubuntu, a set each; name → version or None."""
    found: list[Mapping[str, str | None]] = [
        {**host_packages.base(settings), "earlyoom": None},
        host_packages.kernel(settings),
        {host_packages.pinning(settings): None, **host_packages.driver(settings)},
        host_packages.docker(settings),
        host_packages.toolkit(settings),
        {"haproxy": None},
    ]
    return [*found, {nfs.CLIENT: None}, {nfs.SERVER: None}] if settings.cache else found


def repositories(settings: Settings) -> tuple[Repository, ...]:
    return tuple(
        of(settings) for of in (host_files.cuda, host_files.docker, host_files.container_toolkit)
    )


def define(
    apt: Apt, client: Client, settings: Settings, stanzas: Sequence[str], keyring: Path | None
) -> None:
    """Write apt's sources: the hosts' own, and the vendors' with the keys that are pinned."""
    text = "\n".join(stanzas)
    _require_keys(re.findall(r"(?m)^Signed-By: (.*)$", text) if keyring is None else [str(keyring)])
    text = re.sub(r"(?m)^Signed-By:.*$", f"Signed-By: {keyring}", text) if keyring else text
    (apt.work / "sources" / "base.sources").write_text(text)
    for repository in repositories(settings):
        key = apt.work / f"{repository.name}.asc"
        key.write_bytes(vendor_key(client, repository))
        text = host_files.sources(settings, repository)[repository.source]
        text = text.replace(repository.keyring, str(key))
        (apt.work / "sources" / f"{repository.name}.sources").write_text(text)


def _require_keys(paths: Sequence[str]) -> None:
    for path in paths:
        if not os.path.isfile(path):
            raise SettingsError(
                f"{path}: no such file, and the hosts' own repositories are signed by it; "
                "apt-get install ubuntu-keyring brings Ubuntu's, or name a copy: --keyring FILE"
            )


def vendor_key(client: Client, repository: Repository) -> bytes:
    """The repository's key, if it is the pinned one and the only one in its file."""
    answer = client.get(repository.key_url, {}, _KEY_LIMIT)
    argv = ["gpg", "--batch", "--with-colons", "--show-keys"]
    done = subprocess.run(argv, input=answer.body, capture_output=True, check=False)
    said = done.stdout.decode(errors="replace")
    found = re.findall(r"^pub:.*\n(?:fpr:+)([0-9A-F]{40}):", said, re.MULTILINE)
    if answer.status != 200 or found != [repository.fingerprint]:
        raise SettingsError(
            f"{repository.key_url}: found key {', '.join(found) or 'none'}, wanted "
            f"{repository.fingerprint}"
        )
    return answer.body


def collect(
    apt: Apt, client: Client, folder: Path, known: Bundle, settings: Settings
) -> dict[str, Entry]:
    """Keys, signed indices, and the packages with their dependencies."""
    found = indices(apt, client, folder, known)
    for repository in repositories(settings):
        key = (apt.work / f"{repository.name}.asc").read_bytes()
        found |= keep(folder, name_of(repository.key_url), key)
    return found | fetch(client, folder, known, "packages", chosen(apt, wanted_sets(settings)))


def indices(apt: Apt, client: Client, folder: Path, known: Bundle) -> dict[str, Entry]:
    """Release files that apt has found well signed, and the indices of packages they vouch for."""
    apt.run("apt-get", "-q", "update")
    found: dict[str, Entry] = {}
    wanted: list[Wanted] = []
    for base, targets in bases(apt).items():
        found |= _signed(apt, folder, base)
        wanted += [_index(apt, base, target) for target in targets]
    return found | fetch(client, folder, known, "package indices", wanted)


def chosen(apt: Apt, sets: Sequence[Mapping[str, str | None]]) -> list[Wanted]:
    """What apt would fetch to install each of ``sets``."""
    found = []
    for packages in sets:
        words = [f"{name}={version}" if version else name for name, version in packages.items()]
        said = apt.run("apt-get", "-qq", "--print-uris", "install", *words)
        for line in said.splitlines():
            if line.startswith("'"):
                found.append(_package(line))
    return found


def _package(line: str) -> Wanted:
    told = _CHOSEN.match(line)
    if told is None:
        raise SettingsError(f"apt-get --print-uris: found {line[:200]!r}, wanted a SHA256")
    return Wanted(name_of(told["uri"]), told["uri"], int(told["size"]), told["digest"])


def name_of(uri: str) -> str:
    """Where the bundle keeps what lies at ``uri``."""
    return f"packages/{unquote(uri.partition('://')[2])}"


def bases(apt: Apt) -> dict[str, list[str]]:
    """Where each Release file lies → the indices of packages it signs that apt reads."""
    words = ("--format", "$(BASE_URI) $(METAKEY)", "Created-By: Packages")
    found: dict[str, list[str]] = {}
    for line in apt.run("apt-get", "indextargets", *words).splitlines():
        base, _, target = line.partition(" ")
        found.setdefault(base, []).append(target)
    return found


def _in_lists(base: str, name: str) -> str:
    """How apt names a fetched file."""
    return (base.partition("://")[2] + name).replace("_", "%5f").replace("/", "_")


def _signed(apt: Apt, folder: Path, base: str) -> dict[str, Entry]:
    """The Release files as apt has found them good."""
    found: dict[str, Entry] = {}
    for name in RELEASES:
        path = apt.work / "lists" / _in_lists(base, name)
        if path.is_file():
            found |= keep(folder, name_of(base + name), path.read_bytes())
    return found


def _index(apt: Apt, base: str, target: str) -> Wanted:
    """The index of packages under its plain name, in the best form that the Release file lists."""
    paths = [apt.work / "lists" / _in_lists(base, name) for name in RELEASES[:2]]
    text = next(path.read_text() for path in paths if path.is_file())
    sums = text.partition("\nSHA256:\n")[2]
    listed = dict(reversed(pair) for pair in re.findall(r"(?m)^ ([0-9a-f]{64} +\d+) (\S+)$", sums))
    for ending in COMPRESSED:
        if (name := target + ending) in listed:
            digest, size = listed[name].split()
            by_hash = re.search(r"(?m)^Acquire-By-Hash: yes$", text)
            at = f"{name.rpartition('/')[0]}/by-hash/SHA256/{digest}" if by_hash else name
            return Wanted(name_of(base + name), base + at.lstrip("/"), int(size), digest)
    raise SettingsError(f"{base}: its Release file lists no sha256 of {target}")
