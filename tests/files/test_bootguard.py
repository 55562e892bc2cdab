"""The count of failed starts, on a disk that takes nothing too."""

from __future__ import annotations

from pathlib import Path

import bootguard
import layout
import pytest
import serve


@pytest.fixture(autouse=True)
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "STARTS", tmp_path / "state/starts.json")
    monkeypatch.setattr(bootguard, "STEADY_S", -1.0)
    return layout.STARTS


def test_a_disk_that_takes_nothing_is_told_once_while_it_serves(
    starts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts.parent.write_text("no folder")  # unlink fails, as on a file system that is read-only
    steady = bootguard.Steady()
    for _ in range(3):
        steady.tick()
    told = f"boot guard: {starts}: Not a directory; failed starts stay\n"
    assert capsys.readouterr().out == told
    assert serve.reset() == 1


def test_a_release_that_serves_steadily_has_nothing_against_it(starts: Path) -> None:
    bootguard.begin("a" * 12)
    steady = bootguard.Steady()
    steady.tick()
    assert not starts.exists()
    bootguard.begin("a" * 12)
    steady.tick()  # not again: what comes later is no longer its start
    assert bootguard.failures("a" * 12)[0] == 1
    assert serve.reset() == 0
    assert bootguard.failures("a" * 12) == (0, "")
