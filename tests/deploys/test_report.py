"""The end of a run: exit code by outcome, table, evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploys.report import HostResult, RunReport, closing_table


def report(**outcomes: str) -> RunReport:
    """A run over hosts with these outcomes; all that went well is proved."""
    run = RunReport(expects_proof=True, closing=closing_table)
    run.ask_for(outcomes)
    for name, outcome in outcomes.items():
        run.of(name).outcome = outcome
        run.of(name).proved = outcome in ("switched", "serving", "unchanged")
    return run


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({"a": "switched", "b": "serving"}, 0),
        ({"a": "switched", "b": "not reached"}, 1),
        ({"a": "refused", "b": "untouched"}, 1),
        ({"a": "reverted", "b": "untouched"}, 3),
        ({"a": "lost", "b": "reverted"}, 5),
        ({"a": "lost", "b": "revert failed", "c": "reverted"}, 4),
    ],
)
def test_the_exit_code_says_the_worst_outcome(outcomes: dict[str, str], code: int) -> None:
    assert report(**outcomes).exit_code() == code


def test_a_switched_host_that_is_not_proved_is_no_success() -> None:
    run = report(a="switched")
    run.of("a").proved = False
    assert run.exit_code() == 1


def test_a_reason_is_never_a_success() -> None:
    run = report(a="serving")
    run.of("a").reason = "it has no previous release to go back to"
    assert run.exit_code() == 1


def test_an_interruption_comes_before_every_outcome() -> None:
    run = report(a="lost")
    run.interrupted = 130
    assert run.exit_code() == 130


def test_a_failed_command_s_last_line_is_the_reason() -> None:
    run = report(a="not reached", b="not reached")
    run.ended("a", False, ["Reading package lists", "E: Unable to locate package", ""])
    run.ended("b", False, ["an earlier failure, mended since"])
    run.ended("b", True, [])
    run.close({"a", "b"})
    assert run.of("a").reason == "E: Unable to locate package"
    assert run.of("b").reason == "a step failed, see above"


def test_a_connection_that_broke_before_anything_was_switched_is_a_lost_host() -> None:
    run = report(a="not reached", b="not reached", c="not reached")
    for name in ("a", "b"):
        assert str(run.broke(name)) == "the connection broke"
    run.ended("b", True, [])  # it was connected again
    run.close({"a", "b"})
    assert [r.outcome for r in run.results.values()] == ["lost", "not reached", "not reached"]
    assert run.exit_code() == 5


def test_a_host_that_failed_without_a_word_is_accounted_for() -> None:
    run = report(a="serving", b="not reached")
    run.close({"b"})
    assert run.of("b").reason == "a step failed, see above"
    assert run.exit_code() == 1


def test_table_and_evidence_tell_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = report(a="switched", b="reverted")
    run.results["a"] = HostResult(
        "a", "switched", True, "nvfp4", "org/name", "1" * 12, "2" * 12, "2" * 12,
        "Paris [1]", 41.25, 12.5, 0,
    )  # fmt: skip
    run.of("b").reason, run.of("b").wave = "gate: no answer", 1
    run.close({"b"})
    run.tell()
    said = capsys.readouterr().err
    row = next(line for line in said.splitlines() if line.startswith("│ a "))
    for told in ("switched", "nvfp4", "111111111111 → 222222222222", "12.5 s", "41.2", "Paris [1]"):
        assert told in row, row
    assert "gate: no answer" in next(li for li in said.splitlines() if li.startswith("│ b "))
    lines = said.splitlines()
    assert lines[-2].startswith("1 switched, 1 reverted; ")
    assert lines[-2].endswith("exit code 3")
    written = tmp_path / lines[-1].removeprefix("evidence: ")
    body = json.loads(written.read_text())
    assert (body["exit_code"], len(body["hosts"])) == (3, 2)
    assert body["hosts"][0]["downtime_s"] == 12.5
    assert {path.name for path in written.parent.iterdir()} == {written.name, written.stem}
    hosts = [path.stem for path in written.with_suffix("").iterdir()]
    assert sorted(hosts) == sorted(
        each["host"] for each in json.loads(written.read_text())["hosts"]
    )


def test_evidence_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence").write_text("a file in the way")
    run = report(a="switched")
    run.close(set())
    run.tell()
    assert "evidence: not written, " in capsys.readouterr().err


def test_the_plan_is_told_once_and_hosts_alike_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = report(a="not reached", b="not reached", c="not reached")
    run.plan = {"b": ["mode: x → y"], "a": ["mode: x → y"], "c": ["image: 1 → 2"]}
    run.tell()
    run.tell()
    assert capsys.readouterr().err == "a, b:\n    mode: x → y\nc:\n    image: 1 → 2\n"
