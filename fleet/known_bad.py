"""Kernels and drivers that are known to fail on GB10: data, each with its source and its remedy.

A new finding is one entry here; nothing else changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["warn", "blocked"]


@dataclass(frozen=True)
class KnownBad:
    """What fails. All given conditions must hold: ``kernel`` and ``driver`` are patterns for the
    whole version, ``with_token`` and ``without_token`` are words of the kernel command line.

    ``single`` is the level on a host that serves alone, ``replica`` on one of a cabled replica.
    """

    what: str
    source: str
    remedy: str
    kernel: str = ".*"
    driver: str = ".*"
    with_token: str = ""
    without_token: str = ""
    single: Level | None = "blocked"
    replica: Level = "blocked"

    def matches(self, kernel: str, driver: str, cmdline: str) -> bool:
        words = cmdline.split()
        return (
            bool(re.fullmatch(self.kernel, kernel))
            and bool(re.fullmatch(self.driver, driver))
            and (not self.with_token or self.with_token in words)
            and (not self.without_token or self.without_token not in words)
        )


KNOWN_BAD = (
    KnownBad(
        what="kernel 7.0.0-1019-nvidia without kho=off: Kexec HandOver keeps about 9.3 GiB, and "
        "registering memory for multi-node RoCE fails (ibv_reg_mr_iova2: Cannot allocate memory)",
        kernel=r"7\.0\.0-1019-nvidia",
        without_token="kho=off",
        source="github.com/NVIDIA/NV-Kernels pull requests 590 and 591; "
        "forums.developer.nvidia.com 383254",
        remedy="add kho=off to the kernel command line (OTA 26.09.2 brings nvidia-spark-grub-kho) "
        "or stay on 6.17.0-1032-nvidia",
        single="warn",
    ),
    KnownBad(
        what="kernel 6.17.0-1032-nvidia with kho=off: ConnectX-7 was seen to send 12.7 Gb/s only",
        kernel=r"6\.17\.0-1032-nvidia",
        with_token="kho=off",
        source="one report of a two-host bring-up, September 2026",
        remedy="remove kho=off from the kernel command line; only 7.x kernels need it",
        single=None,
        replica="warn",
    ),
    KnownBad(
        what="a kernel with 64 KiB pages: built for GB200 and GB300",
        kernel=r".*-64k",
        source="NVIDIA's package list: linux-nvidia-64k-hwe-24.04 is for GB200/GB300",
        remedy="install linux-nvidia-hwe-24.04 (4 KiB pages) and boot it",
    ),
    KnownBad(
        what="driver branch 590: deadlock when CUDA graphs are captured on GB10",
        driver=r"590\..*",
        source="conselara.dev/notes/dgx-spark-gb10-hardware-reference",
        remedy="go back to the 580 open driver",
    ),
    KnownBad(
        what="driver 580.173.02: with firmware of OTA 2607 some units lose the GPU "
        "(Xid 119 GSP_INIT_DONE, 'No devices were found')",
        driver=r"580\.173\.02",
        source="digest of the DGX Spark forum; nvidia-spark-ota-check names the component",
        remedy="finish the update in DGX Dashboard, or hold 580.159.03",
        single="warn",
        replica="warn",
    ),
    KnownBad(
        what="driver 580.178.04 on kernel 7.0.0-1019-nvidia: silent wedge after "
        "NV_ERR_NO_MEMORY in _memdescAlloc, more often than with other pairs",
        kernel=r"7\.0\.0-1019-nvidia",
        driver=r"580\.178\.04",
        source="github.com/NVIDIA/open-gpu-kernel-modules issue 1358",
        remedy="stay on 6.17.0-1032-nvidia with 580.159.03",
        single="warn",
        replica="warn",
    ),
)


def listed(
    kernel: str | None, driver: str | None, cmdline: str | None, *, in_replica: bool
) -> list[tuple[Level, KnownBad]]:
    """What is known of this kernel, driver and command line, and how bad it is here."""
    levels = ((bad.replica if in_replica else bad.single, bad) for bad in KNOWN_BAD)
    return [
        (level, bad)
        for level, bad in levels
        if level and bad.matches(kernel or "", driver or "", cmdline or "")
    ]
