"""Builds .deb files: the same input gives the same bytes."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.command import run

EPOCH = "1780000000"  # SOURCE_DATE_EPOCH of everything the lab packs (2026-05-28)


@dataclass(frozen=True)
class File:
    """One file of a package: bytes and mode, or the target of a symbolic link."""

    content: bytes = b""
    mode: int = 0o644
    link: str = ""


def text(content: str, mode: int = 0o644) -> File:
    return File(content.encode(), mode)


def program(content: str) -> File:
    return text(content, 0o755)


@dataclass(frozen=True)
class Package:
    """A package as dpkg sees it; ``relations`` holds Depends, Provides, Conflicts and the like."""

    name: str
    version: str
    arch: str
    about: str
    relations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)  # absolute path on the host
    scripts: Mapping[str, str] = field(default_factory=dict)  # postinst, prerm, triggers ...
    conffiles: tuple[str, ...] = ()
    section: str = "misc"

    @property
    def filename(self) -> str:
        """As archives name it: the epoch of the version left out."""
        return f"{self.name}_{self.version.split(':', 1)[-1]}_{self.arch}.deb"

    def control(self) -> str:
        lines = [f"Package: {self.name}", f"Version: {self.version}", f"Architecture: {self.arch}",
                 "Maintainer: spark-vllm-fleet lab <lab@invalid>", f"Section: {self.section}",
                 "Priority: optional"]  # fmt: skip
        lines += [f"{key}: {value}" for key, value in self.relations.items() if value]
        lines.append(f"Description: lab stand-in: {self.about}")
        return "\n".join(lines) + "\n"


def build(packages: Iterable[Package], out: Path) -> None:
    """Write the packages' .deb files into directory ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for package in packages:
        with tempfile.TemporaryDirectory(dir=out) as tree:
            _unpacked(package, Path(tree))
            pack(Path(tree), out / package.filename)


def link_all(source: Path, target: Path) -> None:
    """Show every file of directory ``source`` in ``target`` too, without a copy."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        os.link(file, target / file.name)


def pack(tree: Path, deb: Path, *compression: str) -> None:
    """Make ``deb`` of a directory that holds DEBIAN/ and the files, all owned by root."""
    tree.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": EPOCH}
    run("dpkg-deb", *(compression or ("-Zgzip",)), "--root-owner-group", "-b", tree, deb, env=env)


def _unpacked(package: Package, tree: Path) -> None:
    debian = tree / "DEBIAN"
    debian.mkdir()
    (debian / "control").write_text(package.control())
    if package.conffiles:
        (debian / "conffiles").write_text("\n".join(package.conffiles) + "\n")
    for name, script in package.scripts.items():
        (debian / name).write_text(script)
        (debian / name).chmod(0o644 if name == "triggers" else 0o755)
    for path, file in package.files.items():
        _write(tree / path.lstrip("/"), file)


def _write(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.link:
        path.symlink_to(file.link)
    else:
        path.write_bytes(file.content)
        path.chmod(file.mode)
