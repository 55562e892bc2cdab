"""Repositories of stand-ins without Debian's packages: built in seconds, without any network."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.supply import www
from lab.supply.keys import Keys, keys
from lab.supply.repository import Site

STATUS = "Package: python3\nStatus: install ok installed\nVersion: 3.13\nArchitecture: amd64\n\n"


@dataclass(frozen=True)
class Apt:
    """This machine's apt over a private root that knows some of the lab's repositories."""

    root: Path
    web: Path

    def define(self, name: str, line: str, key: Path, arch: str = "amd64") -> None:
        """Add source ``line``, where {web} is the web root, trusting ``key``."""
        text = line.format(options=f"[signed-by={key} arch={arch}]", web=f"file:{self.web}")
        (self.root / f"sources.list.d/{name}.list").write_text(text + "\n")

    def __call__(self, *words: str, program: str = "apt-get") -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        return subprocess.run([program, *words], env=env, capture_output=True, text=True)

    def update(self) -> subprocess.CompletedProcess[str]:
        return self("update", "-o", "APT::Update::Error-Mode=any")

    def plan(self, *words: str) -> dict[str, str]:
        """Package -> version that an installation would bring; {} when apt refuses."""
        done = self("install", "-s", "-y", "--no-install-recommends", *words)
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("Inst ")]
        return {} if done.returncode else {line[1]: line[2].strip("(") for line in lines}


@pytest.fixture(scope="session")
def signing() -> Keys:
    return keys()


@pytest.fixture(scope="session")
def shared_web(tmp_path_factory: pytest.TempPathFactory, signing: Keys) -> Path:
    """A web root with every vendor's repository, Docker and Debian left out."""
    out = tmp_path_factory.mktemp("web")
    pool = tmp_path_factory.mktemp("pool")
    for folder in ("universe", "stable", "dgx"):
        (pool / folder).mkdir()
    (pool / "Packages").write_text("")
    www.make(Site(out, "amd64", signing), pool, pool)
    return out


@pytest.fixture
def apt(tmp_path: Path, shared_web: Path) -> Apt:
    root = tmp_path / "apt"
    for folder in ("sources.list.d", "preferences.d", "lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True)
    (root / "status").write_text(STATUS)
    settings = {
        "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": root / "sources.list.d",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": root / "preferences.d",
        "Dir::Etc::parts": "/dev/null", "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "status", "Dir::Cache": root / "cache",
        "APT::Architecture": "amd64", "APT::Architectures": "amd64", "Debug::NoLocking": "1",
        "Acquire::Languages": "none", "APT::Sandbox::User": "root",
    }  # fmt: skip
    config = "".join(f'{key} "{value}";\n' for key, value in settings.items())
    (root / "apt.conf").write_text(config)
    return Apt(root, shared_web)
