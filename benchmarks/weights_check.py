"""How fast a host checks a model: all files against their sha256, next to sha256sum and openssl.

    python3 benchmarks/weights_check.py [GIB]

Makes a model of GIB (default 4) gibibytes of noise in 12 equal shards and some small files, in a
temporary folder. Each measurement begins with the files in the page cache, so that it is sha256 and
not the disk that is measured. openssl is the harder mark where sha256sum does without the
processor's own instructions for it. Prints one JSON object; rates in MB/s.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "files"))

import layout
import weights
from weights import LockedFile

SHARDS, SMALL, ROUNDS = 12, 40, 3


def model(folder: Path, size: int) -> list[LockedFile]:
    """The files of a model of about ``size`` bytes."""
    each = size // SHARDS
    sizes = {f"model-{number:05}.safetensors": each for number in range(SHARDS)}
    sizes |= {f"small-{number}.json": 5000 for number in range(SMALL)}
    block = os.urandom(1 << 24)
    found = []
    for name, wanted in sizes.items():
        digest, left = hashlib.sha256(), wanted
        with (folder / name).open("wb") as file:
            while left > 0:
                part = block[: min(left, len(block))]
                file.write(part)
                digest.update(part)
                left -= len(part)
        found.append(LockedFile(name, wanted, digest.hexdigest()))
    return found


def warm(folder: Path) -> None:
    """All of it into the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def one(folder: Path, *program: str) -> float:
    """Bytes per second of one process of ``program`` over all shards."""
    shards = sorted(folder.glob("*.safetensors"))
    warm(folder)
    took = seconds(lambda: subprocess.run([*program, *shards], check=True, capture_output=True))
    return sum(path.stat().st_size for path in shards) / took


def main() -> None:
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 4) * 2**30)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "model")
        folder.mkdir()
        layout.VERIFIED = Path(name, "verified.json")
        files = model(folder, size)
        bytes_all = sum(file.size for file in files)
        rounds = []
        for _ in range(ROUNDS):
            plain = one(folder, "sha256sum")
            quick = one(folder, "openssl", "dgst", "-sha256")
            warm(folder)
            took = seconds(lambda: weights.check(folder, files, deep=True))
            rounds.append((plain, quick, bytes_all / took))
        again = seconds(lambda: weights.check(folder, files))
    print(
        json.dumps(
            {
                "GiB": round(bytes_all / 2**30, 2),
                "files": len(files),
                "cores": cores,
                "sha256sum_one_MBps": [round(plain / 1e6) for plain, _, _ in rounds],
                "openssl_one_MBps": [round(quick / 1e6) for _, quick, _ in rounds],
                "check_MBps": [round(ours / 1e6) for _, _, ours in rounds],
                "of_cores_x_sha256sum": [round(o / p / cores, 3) for p, _, o in rounds],
                "of_cores_x_openssl": [round(o / q / cores, 3) for _, q, o in rounds],
                "second_run_ms": round(again * 1000, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
