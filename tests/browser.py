"""A real browser for what people look at: its picture of a page, and which colours are in it."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

from tests.programs import needed

WIDTH, HEIGHT = 1200, 1100


def program() -> str:
    """Chromium, installed where root runs the tests."""
    needed({"chromium": "chromium"})
    return "chromium"


def words(browser: str, url: str, picture: Path, height: int = HEIGHT) -> list[str]:
    """The command that makes ``picture`` of ``url``; scripts get some seconds."""
    return [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--user-data-dir={picture.parent / 'profile'}", f"--window-size={WIDTH},{height}"),
        *("--virtual-time-budget=8000", f"--screenshot={picture}", url),
    ]


def picture_of(page: Path, picture: Path, height: int = HEIGHT) -> dict[tuple[int, int, int], int]:
    """The colours of a local page, seen by the browser."""
    argv = words(program(), page.resolve().as_uri(), picture, height)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert picture.exists(), done.stderr[-2000:]
    return colours(picture.read_bytes())


def colours(png: bytes) -> dict[tuple[int, int, int], int]:
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
        before = _unfiltered(line[0], bytearray(line[1:]), before, size)
        for x in range(0, len(before), size):
            colour = (before[x], before[x + 1], before[x + 2])
            seen[colour] = seen.get(colour, 0) + 1
    return seen


def _unfiltered(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    """PNG's five filters."""
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        line[i] = (line[i] + _guess(kind, left, above[i], corner)) & 255
    return line


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    wish = left + up - corner
    return min((left, up, corner), key=lambda value: abs(wish - value))
