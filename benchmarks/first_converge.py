"""Where the time of a first converge goes: a bare lab host, timed by pyinfra's own lines.

    python benchmarks/first_converge.py [--rows 12]        # Linux, root, the lab

Deploys the stand-in image to one bare host and prints a row for each operation that took long, then
sums: packages and repositories, image, model and its start, reboots, and all else. What the lab
serves from a cache of its own (packages, image, model) takes longer from the Internet; a reboot of
a lab host takes a second.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lab import lifecycle
from lab.state import load
from lab.testing import Lab

NAME = os.environ.get("LAB_NAME", "first")
STARTS = re.compile(r"Starting operation: (.+?)\s*$")
ENDS = "--> Results:"
BEFORE, AFTER = "start, settings, first reading", "report and end"
KINDS = {
    "packages and repositories": r"Install|repositor|Pin apt|Hold",
    "image": r"Pull the serving image",
    "model and its start": r"locked model|Serve the release",
    "reboots": r"Reboot into",
    "the image's own checks": r"read its arguments|GPU from a container",
}
ELSE = "all else"


def durations(lines: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Each operation with its seconds, as the lines come."""
    current, began = BEFORE, time.monotonic()
    for line in lines:
        found = STARTS.search(line)
        name = found[1] if found else AFTER if line.startswith(ENDS) else None
        if name:
            now = time.monotonic()
            yield current, now - began
            current, began = name, now
    yield current, time.monotonic() - began


def kind(operation: str) -> str:
    return next((name for name, words in KINDS.items() if re.search(words, operation)), ELSE)


def measured() -> list[tuple[str, float]]:
    """The operations of one first converge, in their order."""
    lifecycle.up(lifecycle.wanted(NAME, 1))
    try:
        lab = Lab(load(NAME))
        image = lab.state.images["vllm-standin"]
        process = lab.start_pyinfra("deploy.py", data={"vllm_image": image})
        assert process.stdout is not None
        said: list[str] = []
        took = list(durations(said.append(line) or line for line in process.stdout))
        if process.wait() != 0:
            sys.exit("".join(said[-40:]))
        return took
    finally:
        lifecycle.down(NAME)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=12)
    rows = parser.parse_args().rows
    took = measured()
    print("| operation | s |\n| --- | --- |")
    for name, seconds in sorted(took, key=lambda one: -one[1])[:rows]:
        print(f"| {name} | {seconds:.1f} |")
    print("\n| part | s |\n| --- | --- |")
    for part in (*KINDS, ELSE):
        print(f"| {part} | {sum(s for name, s in took if kind(name) == part):.1f} |")
    print(f"| sum | {sum(seconds for _, seconds in took):.1f} |", flush=True)


if __name__ == "__main__":
    main()
