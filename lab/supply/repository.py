"""Signed apt repositories in the two shapes vendors use: flat, and dists/ with components."""

import gzip
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.command import run
from lab.supply.keys import Keys

# Of every Release: apt keeps what it has when an older one is served, and a restored one counts.
DATE = "Thu, 28 May 2026 20:26:40 +0000"


@dataclass(frozen=True)
class Site:
    """A web root under construction."""

    out: Path
    arch: str
    keys: Keys

    def at(self, address: str) -> Path:
        """The directory that https://``address`` shows."""
        folder = self.out / address
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Identity:
    """What a Release file says of its repository, and who signs it."""

    owner: str  # of the key, see lab.supply.keys
    origin: str
    label: str
    suite: str = ""
    codename: str = ""
    components: str = ""
    architectures: str = ""

    def options(self) -> list[str]:
        fields = {"Origin": self.origin, "Label": self.label, "Suite": self.suite,
                  "Codename": self.codename, "Components": self.components,
                  "Architectures": self.architectures, "Date": DATE}  # fmt: skip
        prefix = "APT::FTPArchive::Release::"
        return [part for k, v in fields.items() if v for part in ("-o", f"{prefix}{k}={v}")]


def flat(folder: Path, identity: Identity, keys: Keys) -> None:
    """Index and sign a flat repository: everything lies in ``folder``."""
    write_packages(folder, packages_of(folder, "."))
    release(folder, identity, keys)


def suite(base: Path, identity: Identity, pools: Mapping[str, str], keys: Keys) -> None:
    """Index and sign ``base``/dists/<codename>; ``pools`` names each component's Packages text."""
    dists = base / "dists" / identity.codename
    for component, packages in pools.items():
        for arch in identity.architectures.split():
            write_packages(dists / component / f"binary-{arch}", packages)
    release(dists, identity, keys)


def packages_of(base: Path, folder: str) -> str:
    """The index of all .debs below ``base``/``folder``; file names in it start at ``base``."""
    listing = run("apt-ftparchive", "packages", folder, cwd=base)
    return listing.replace("\nFilename: ./", "\nFilename: ")


def write_packages(folder: Path, packages: str) -> None:
    """Write Packages and Packages.gz, without a time stamp."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Packages").write_text(packages)
    (folder / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))


def release(folder: Path, identity: Identity, keys: Keys) -> None:
    """(Re)write Release over the indexes below ``folder`` and sign it."""
    for old in ("Release", "Release.gpg", "InRelease"):
        (folder / old).unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix="Release") as file:  # else it would list itself
        file.write(run("apt-ftparchive", *identity.options(), "release", ".", cwd=folder))
        file.flush()
        shutil.copyfile(file.name, folder / "Release")
    keys.sign(identity.owner, folder)
