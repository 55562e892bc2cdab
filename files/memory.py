"""Waits for memory: on GB10 it comes back late after a server stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from errors import HostError

KIB_PER_GIB = 1024 * 1024


def meminfo(key: str) -> int:
    """A figure of /proc/meminfo in KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise HostError(f"/proc/meminfo has no {key}")


def wait(
    needed_kib: int, *, bound_s: float, stop: threading.Event, tell: Callable[[str], None]
) -> None:
    """Return when MemAvailable is at least ``needed_kib`` or ``stop`` is set.

    Raises HostError after ``bound_s`` seconds, naming the biggest processes.
    """
    deadline = time.monotonic() + bound_s
    while (found := meminfo("MemAvailable")) < needed_kib and not stop.is_set():
        if time.monotonic() > deadline:
            raise HostError(
                f"MemAvailable is {_gib(found)}, the release needs {_gib(needed_kib)}; biggest: "
                f"{', '.join(_biggest()) or 'none'}; stop what holds it or lower the mode's memory"
            )
        tell(f"waiting for memory: {_gib(found)} of {_gib(needed_kib)}")
        stop.wait(1.0)


def drop_page_cache(needed_kib: int) -> bool:
    """Give the page cache back if free memory is short: NVIDIA's driver does not reclaim it.

    Returns whether it was dropped; where the kernel forbids it, it stays.
    """
    if needed_kib == 0 or meminfo("MemFree") >= needed_kib:
        return False
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def _gib(kib: int) -> str:
    return f"{kib / KIB_PER_GIB:.1f} GiB"


def _biggest(count: int = 3) -> list[str]:
    sizes = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(
                line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
            )
        except OSError:
            continue  # the process ended while we looked
        kib = int(fields.get("VmRSS", "0").split()[0])
        sizes.append((kib, f"{fields['Name'].strip()} (pid {status.parent.name}) {_gib(kib)}"))
    return [text for _, text in sorted(sizes, reverse=True)[:count]]
