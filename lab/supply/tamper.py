"""Spoils a repository of one running lab, for tests of what a host then refuses.

    with spoilt(state.run, supply, "docker", other_key):
        ...

Every way takes the repository as it is served and leaves it wrong in one respect. Other labs, and
the shared web root, are not touched.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.supply import Supply, serve_copy
from lab.supply.keys import Keys
from lab.supply.repository import Identity, release, write_packages
from lab.supply.www import release_folders

STRANGER = "stranger"
KEY_FILES = ("gpgkey", "gpg", "3bf863cc.pub", "cuda-archive-keyring.gpg")


@dataclass(frozen=True)
class Repository:
    """One vendor's repository as a lab serves it."""

    owner: str  # of the key that signs it: nvidia, toolkit, docker, dgx, ubuntu
    folder: Path  # where its Release lies
    top: Path  # directory of the vendor's host name
    keys: Keys

    def indexes(self) -> list[Path]:
        return sorted(self.folder.rglob("Packages"))

    def sign(self, owner: str = "") -> None:
        self.keys.sign(owner or self.owner, self.folder)


Way = Callable[[Repository], None]


@contextmanager
def spoilt(run: Path, supply: Supply, owner: str, way: Way) -> Iterator[Repository]:
    """The repository of ``owner`` in the lab at ``run`` is spoilt for a while, then as before."""
    folder = run / "www" / release_folders(supply.arch)[owner]
    top = run / "www" / folder.relative_to(run / "www").parts[0]
    repository = Repository(owner, folder, top, supply.keys)
    try:
        way(repository)
        yield repository
    finally:
        shutil.rmtree(top)
        serve_copy(supply.www / top.name, top)


def changed_package(repository: Repository) -> None:
    """Every .deb has one byte more than its index says."""
    for deb in repository.top.rglob("*.deb"):
        content = deb.read_bytes()
        deb.unlink()
        deb.write_bytes(content + b"x")


def changed_index(repository: Repository) -> None:
    """The indexes were edited, Release was not."""
    for index in repository.indexes():
        edited = index.read_text().replace("Description: ", "Description: edited ")
        write_packages(index.parent, edited)


def edited_release(repository: Repository) -> None:
    """InRelease was edited after it was signed; there is no other Release."""
    _edit(repository.folder / "InRelease", "\nOrigin: ", "\nOrigin: edited ")
    for name in ("Release", "Release.gpg"):
        (repository.folder / name).unlink()


def other_key(repository: Repository) -> None:
    """Signed by somebody else; the vendor's key is still the one offered."""
    repository.sign(STRANGER)


def stolen_name(repository: Repository) -> None:
    """Somebody else's key is offered in the place of the vendor's, and signs: only the
    fingerprint tells."""
    repository.sign(STRANGER)
    for key in (path for name in KEY_FILES for path in repository.top.rglob(name)):
        binary = key.suffix == ".gpg"
        new = repository.keys.binary(STRANGER) if binary else repository.keys.armored(STRANGER)
        key.write_bytes(new.read_bytes())


def unsigned(repository: Repository) -> None:
    """No signature at all."""
    for name in ("InRelease", "Release.gpg"):
        (repository.folder / name).unlink()


def expired(repository: Repository) -> None:
    """Well signed, but no longer valid."""
    release = repository.folder / "Release"
    release.write_text(f"Valid-Until: Mon, 01 Jan 2024 00:00:00 UTC\n{release.read_text()}")
    repository.sign()


def renamed(repository: Repository) -> None:
    """Well signed, but it calls itself by another Origin."""
    _edit(repository.folder / "Release", "Origin: ", "Origin: other ")
    repository.sign()


def gone(repository: Repository) -> None:
    """The vendor's server answers 404 to everything."""
    shutil.rmtree(repository.top)
    repository.top.mkdir()


def without(package: str, version: str) -> Way:
    """A way: the repository no longer has this version, as vendors' archives lose old ones."""

    def remove(repository: Repository) -> None:
        lost = {f"Package: {package}", f"Version: {version}"}
        for index in repository.indexes():
            entries = index.read_text().split("\n\n")
            kept = [entry for entry in entries if not lost <= set(entry.splitlines())]
            write_packages(index.parent, "\n\n".join(kept))
        release(repository.folder, _identity(repository), repository.keys)

    return remove


def _identity(repository: Repository) -> Identity:
    """What its Release says of it now."""
    lines = (repository.folder / "Release").read_text().splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    names = ("Origin", "Label", "Suite", "Codename", "Components", "Architectures")
    return Identity(repository.owner, *(fields.get(name, "") for name in names))


def _edit(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))
