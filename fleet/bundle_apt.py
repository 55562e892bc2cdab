"""This machine's apt, in a folder of its own: it reads and changes nothing of the machine's.

It resolves for another architecture and for what another machine has installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet import host_files
from fleet.problems import SettingsError
from fleet.settings import Settings

_OPTIONS = {
    "Dir::Etc::sourcelist": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::trustedparts": "/dev/null",
    "APT::Install-Recommends": "false",
    "APT::Get::Always-Include-Phased-Updates": "true",
    "APT::Update::Error-Mode": "any",
    "Acquire::Languages": "none",
    "Acquire::ForceHash": "sha256",  # else --print-uris says MD5
    "Debug::NoLocking": "true",
}


@dataclass(frozen=True)
class Apt:
    """apt with a configuration, lists and keys of its own below ``work``."""

    work: Path
    arch: str
    status: Path
    authority: Path | None

    def run(self, *argv: str) -> str:
        """Standard output; SettingsError with apt's own errors."""
        done = subprocess.run(
            [*argv[:1], *self._words(), *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=False,
        )
        if done.returncode:
            said = done.stdout + done.stderr
            told = re.findall(r"^(?:E: |Err:| .*Depends:).*$", said, re.MULTILINE)
            line = "; ".join(dict.fromkeys(" ".join(x.split()) for x in told)) or said[-300:]
            raise SettingsError(f"{' '.join(argv[:3])}: {' '.join(line.split())[:500]}")
        return done.stdout

    def _words(self) -> Iterator[str]:
        folders = {
            "Dir::Etc::sourceparts": self.work / "sources",
            "Dir::Etc::preferencesparts": self.work / "preferences",
            "Dir::State": self.work / "state",
            "Dir::State::status": self.status,
            "Dir::State::lists": self.work / "lists",
            "Dir::Cache": self.work / "cache",
        }
        asked = {**_OPTIONS, **folders, "APT::Architecture": self.arch}
        asked |= {"APT::Architectures": self.arch}
        asked |= {"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {}
        asked |= {"Acquire::https::CAInfo": self.authority} if self.authority else {}
        for name, value in asked.items():
            yield from ("-o", f"{name}={value}")


def require() -> None:
    """The programs that choose and check; SettingsError names the one that is not there."""
    for program in ("apt-get", "gpg"):
        if not shutil.which(program):
            raise SettingsError(
                f"{program}: not found; packages are collected on a Debian or Ubuntu machine or "
                "in such a container; DGX OS needs none: --only image,model,wheels"
            )


def prepare(work: Path, status: Path | None, settings: Settings, authority: Path | None) -> Apt:
    """The folder in which apt works; without ``status`` no package counts as installed."""
    for part in ("sources", "preferences", "state", "lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    if status is not None and not status.is_file():
        raise SettingsError(
            f"--status: {status}: no such file; copy /var/lib/dpkg/status of a host"
        )
    nothing = work / "status"
    nothing.touch()
    pins = host_files.preferences(settings)[host_files.PREFERENCES]
    (work / "preferences" / "pins.pref").write_text(pins)
    return Apt(work, settings.host_arch, status or nothing, authority)
