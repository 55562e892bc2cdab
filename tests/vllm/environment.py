"""The checking environment: vLLM 0.33.0's Python files and a CPU torch; no GPU, no kernels.

Built once (about 1.3 GB, a minute or two) and kept in the cache of the lab, named by its inputs.
It serves nothing: it can parse arguments, build engine configurations and describe KV caches.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from lab.cache import artefact, digest_of
from lab.paths import cache_dir

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
WHEEL = HERE / "wheel.txt"
TORCH = "torch==2.13.0"
WHEEL_PLATFORM = "manylinux_2_28_x86_64"
PLATFORM = (platform.python_version_tuple()[:2], platform.machine())
HASHED = (("3", "11"), "x86_64")
BUILD_TIMEOUT_S = 1800
CPU_ONLY = "import sys, torch; sys.exit(torch.version.cuda is not None)"


class EnvironmentFailed(RuntimeError):
    """The checking environment could not be built; the message ends with pip's last lines."""


def path() -> Path:
    """The environment's directory (``venv``, ``tree``); built if it is missing."""
    return artefact("vllm-check", [digest_of(REQUIREMENTS, WHEEL), TORCH, PLATFORM], build)


def build(target: Path) -> None:
    """Fill ``target`` with the virtual environment and vLLM's Python files."""
    venv.create(target / "venv", with_pip=True)
    python = target / "venv/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "requirements.txt")
        pinned.write_text(requirements())
        pip(python, "install", TORCH, "--no-deps")
        pip(python, "install", "--no-deps", "-r", str(pinned))
        wheel = ("--only-binary", ":all:", "--platform", WHEEL_PLATFORM, "-d", folder)
        pip(python, "download", "--no-deps", "-r", str(WHEEL), *wheel)
        unpack(next(Path(folder).glob("vllm-*.whl")), target / "tree")
    if subprocess.run([python, "-c", CPU_ONLY]).returncode:
        raise EnvironmentFailed(
            f"{TORCH}: pip found a CUDA build; let it look where CPU builds are"
        )


def requirements() -> str:
    """The pinned packages; with hashes where the hashes were taken."""
    text = REQUIREMENTS.read_text()
    if PLATFORM == HASHED:
        return text
    return "\n".join(line.split(" --hash=")[0] for line in text.splitlines())


def pip(python: Path, *arguments: str) -> None:
    """Run pip, quietly; what it said is told only when it fails."""
    command = [str(python), "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    if done.returncode:
        raise EnvironmentFailed(f"pip {arguments[0]}: {' / '.join(done.stderr.splitlines()[-3:])}")


def unpack(wheel: Path, tree: Path) -> None:
    """The wheel's Python files and its metadata; not the 500 MB of compiled kernels."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tree, [n for n in names if n.endswith(".py") or ".dist-info/" in n])


def run(script: Path, stdin: str, timeout_s: int = 600) -> str:
    """The stdout of one of our scripts, run on the environment as if on a GB10.

    What vLLM finds out about model classes (7 to 25 s each) is kept beside the environment.
    """
    built = path()
    kept = cache_dir() / "vllm-check-models" / built.name
    env = os.environ | {
        "PYTHONPATH": f"{built / 'tree'}:{HERE / 'pretend_gb10'}:{HERE}",
        "VLLM_CACHE_ROOT": str(kept),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        # A real GB10 has Triton, and with it vLLM takes its V2 model runner; there is none here.
        "VLLM_USE_V2_MODEL_RUNNER": "1",
    }
    command = [str(built / "venv/bin/python"), str(script)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env
    )
    if done.returncode:
        raise EnvironmentFailed(f"{script.name}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    print(path(), file=sys.stdout)
