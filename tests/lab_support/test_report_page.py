"""The report in a real browser: the charts are there for the eye, and nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet import bench_report
from fleet.measured import Run
from tests import browser
from tests.fleet.runs import run

COLOURS = {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)}  # the first three lines


@pytest.mark.slow
def test_the_page_shows_its_charts(tmp_path: Path) -> None:
    asked = [("spark-01", "standard", 40.0), ("spark-02", "standard", 36.0)]
    asked += [("spark-01", "ultimate", 60.0)]
    runs = [Run.model_validate(run(host, mode, speed)) for host, mode, speed in asked]
    page = tmp_path / "report.html"
    page.write_text(bench_report.as_html(runs))
    seen = browser.picture_of(page, tmp_path / "report.png")
    assert all(seen.get(colour, 0) > 500 for colour in COLOURS), sorted(seen.items())[:20]
    assert not re.search(r"(href|src)=", page.read_text())
