"""The report in a real browser: the charts are there for the eye, and nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from fleet import bench_report
from fleet.measured import Run
from lab import machine
from tests.fleet.runs import run

WIDTH, HEIGHT = 1200, 1100
COLOURS = {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)}  # the first three lines


def pixels(png: bytes) -> dict[tuple[int, int, int], int]:
    """How often each colour occurs in an 8 bit RGB or RGBA picture."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert depth == 8 and kind in (2, 6)
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    rows, size = zlib.decompress(data), 3 if kind == 2 else 4
    seen: dict[tuple[int, int, int], int] = {}
    before = bytearray(width * size)
    for y in range(height):
        line = rows[y * (width * size + 1) : (y + 1) * (width * size + 1)]
        before = unfiltered(line[0], bytearray(line[1:]), before, size)
        for x in range(0, len(before), size):
            colour = (before[x], before[x + 1], before[x + 2])
            seen[colour] = seen.get(colour, 0) + 1
    return seen


def unfiltered(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    """PNG's five filters."""
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        line[i] = (line[i] + guess(kind, left, above[i], corner)) & 255
    return line


def guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    wish = left + up - corner
    return min((left, up, corner), key=lambda value: abs(wish - value))


@pytest.fixture(scope="module")
def browser() -> str:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        machine.install({"chromium": "chromium"})
    found = shutil.which("chromium")
    if not found:
        pytest.skip("chromium is not installed, and only root may install it")
    return found


@pytest.mark.slow
def test_the_page_shows_its_charts(browser: str, tmp_path: Path) -> None:
    asked = [("spark-01", "standard", 40.0), ("spark-02", "standard", 36.0)]
    asked += [("spark-01", "ultimate", 60.0)]
    runs = [Run.model_validate(run(host, mode, speed)) for host, mode, speed in asked]
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(bench_report.as_html(runs))
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    argv += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={WIDTH},{HEIGHT}"]
    argv += [f"--screenshot={picture}", page.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert picture.exists(), done.stderr[-2000:]
    seen = pixels(picture.read_bytes())
    assert all(seen.get(colour, 0) > 500 for colour in COLOURS), sorted(seen.items())[:20]
    assert not re.search(r"(href|src)=", page.read_text())
