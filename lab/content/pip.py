"""Python packages for an image: wheels for its Python, whatever Python this machine has."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from lab.command import LabError, run
from lab.content.base import PYTHON
from lab.paths import cache_dir
from lab.state import Arch

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = 36  # bookworm has 2.36
SITE = Path(f"usr/local/lib/python{PYTHON}/dist-packages")


def install(requirements: Path, arch: Arch, root: Path) -> Path:
    """Install pinned packages, none of their dependencies; returns the packages' directory.

    They come through this machine's own pip configuration. LabError tells what pip said.
    """
    site = root / SITE
    tag = PYTHON.replace(".", "")
    machine = MACHINES[arch]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC + 1)]
    platforms += [f"manylinux{year}_{machine}" for year in ("1", "2010", "2014")]
    platforms += [f"linux_{machine}"]
    words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    words += ["--cache-dir", str(cache_dir() / "pip")]
    words += ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    words += [word for abi in (f"cp{tag}", "abi3", "none") for word in ("--abi", abi)]
    words += [word for each in platforms for word in ("--platform", each)]
    try:
        run(*pip(), "install", *words, "--target", site, "--requirement", requirements)
    except LabError as error:
        raise LabError(
            f"{requirements.name}: {str(error).rpartition('exit status')[2]}; every package in it "
            "must come from this machine's pip sources (torch as its +cpu build: PIP_FIND_LINKS)"
        ) from None
    shutil.rmtree(site / "bin", ignore_errors=True)
    return site


def pip() -> list[str]:
    """The pip of this Python, or of the machine's."""
    here = Path(sys.executable).with_name("pip")
    return [str(here)] if here.exists() else ["python3", "-m", "pip"]


def command(root: Path, name: str, module: str) -> None:
    """A program in /usr/local/bin that calls ``main`` of ``module``."""
    path = root / "usr/local/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # vLLM spawns processes, which import the main module again.
    guard = 'if __name__ == "__main__":\n    sys.exit(main())\n'
    path.write_text(f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import main\n\n{guard}")
    path.chmod(0o755)
