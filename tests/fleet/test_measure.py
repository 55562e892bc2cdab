"""Results to baseline and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fleet import baseline, bench_report, claims, cli, measured, svg
from tests.fleet.runs import run


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two hosts, two modes, in a folder of their own that is also the working directory."""
    monkeypatch.chdir(tmp_path)
    paths = []
    for index, (host, mode, speed) in enumerate(
        [("spark-01", "standard", 40), ("spark-02", "standard", 38), ("spark-01", "ultimate", 60)]
    ):
        path = tmp_path / f"{index}.json"
        path.write_text(json.dumps(run(host, mode, speed, finished=1.8e9 + index)))
        paths.append(str(path))
    return paths


def loaded(paths: list[str]) -> list[measured.Run]:
    return measured.load(map(Path, paths))


def test_a_baseline_holds_median_and_noise_of_each_host(results: list[str]) -> None:
    assert cli.main(["baseline", "set", *results]) == 0
    found = baseline.load("standard", "org/model")
    assert found is not None
    assert (found.hosts["spark-01"].tokens_per_s, found.hosts["spark-02"].runs) == (140.0, 1)
    assert found.hosts["spark-01"].noise_percent == 5.7
    assert baseline.load("nvfp4", "org/model") is None


def test_a_disturbed_run_makes_no_baseline_unless_asked(
    results: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(results[0])
    path.write_text(json.dumps(run(problems=["GPU clock: found 208 MHz"])))
    assert cli.main(["baseline", "set", *results]) == 1
    assert "spark-01, standard: GPU clock" in capsys.readouterr().err
    assert not Path("baselines").exists()
    assert cli.main(["baseline", "set", "--anyway", *results]) == 0


def test_a_file_that_is_no_result_is_named(
    results: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(results[1]).write_text('{"host": "spark-01"}')
    assert cli.main(["report", *results]) == 1
    assert "1.json: found no benchmark result (key: Field required)" in capsys.readouterr().err


def test_without_a_result_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report"]) == 1
    assert "run 'pyinfra inventory.py benchmark.py' first" in capsys.readouterr().err


def test_the_report_is_told_three_ways(results: list[str], tmp_path: Path) -> None:
    assert cli.main(["report", "--out", str(tmp_path / "out"), *results]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page and "src=" not in page
    body = json.loads((tmp_path / "out/report.json").read_text())
    assert len(body["points"]) == 12 and len(body["history"]) == 3
    assert "| claim | of | promised |" in (tmp_path / "out/report.md").read_text()


def test_a_claim_counts_only_what_was_measured_alike(results: list[str]) -> None:
    told = {(r["claim"], r["of"]): r["measured"] for r in claims.table(loaded(results))}
    assert told["ULTIMATE", "output tokens/s"] == "1.50x of standard, 4 points, org/model"
    assert told["NVFP4", "output tokens/s"] == claims.NOT_MEASURED
    assert told["SOTA (run.sh)", "output tokens/s"] == claims.NOT_MEASURED


def finding(*runs: dict[str, Any]) -> str:
    """What the report says of the throughput of mode ultimate after these runs, oldest first."""
    dated = [{**each, "finished": 1.8e9 + index} for index, each in enumerate(runs)]
    body = bench_report.body([measured.Run.model_validate(each) for each in dated])
    rows = {(row["claim"], row["of"]): row["measured"] for row in body["claims"]}
    return str(rows["ULTIMATE", "output tokens/s"])


def with_key(made: dict[str, Any], **values: str) -> dict[str, Any]:
    return {**made, "key": {**made["key"], **values}}


def test_a_claim_compares_one_model_with_itself() -> None:
    slow = with_key(run(speed=10), model="org/large")
    assert finding(slow, run(mode="ultimate", speed=60)) == claims.NOT_MEASURED
    fast = with_key(run(mode="ultimate", speed=30), model="org/large")
    both = finding(slow, fast, run(speed=40), run(mode="ultimate", speed=60))
    assert both == (
        "3.00x of standard, 4 points, org/large; 1.50x of standard, 4 points, org/model"
    )


def test_a_claim_counts_only_the_newest_release() -> None:
    old = with_key(run(speed=10), release="c" * 12)
    assert finding(old, run(speed=40), run(mode="ultimate", speed=60)).startswith("1.50x ")


def test_every_chart_is_whole_xml_with_its_points(results: list[str]) -> None:
    made = [ElementTree.fromstring(text) for text in bench_report.charts(loaded(results))]
    points = [len(list(one.iter("{http://www.w3.org/2000/svg}circle"))) for one in made]
    assert points == [12, 12, 12, 12, 12, 3]


def test_names_cannot_break_out_of_a_chart() -> None:
    line = svg.Line("<script>&", [svg.Mark(1, 1, 1, 1)])
    text = svg.chart(svg.Chart("<b>", "x", "y", [line]))
    assert "<script" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize("highest", [0.003, 1, 7.5, 99, 100, 12_345])
def test_ticks_are_few_and_reach_the_top(highest: float) -> None:
    found = svg.ticks(highest)
    assert found[0] == 0 and found[-1] >= highest and 3 <= len(found) <= 8


@pytest.mark.parametrize("more", [{}, {"points": []}], ids=["both", "offline only"])
def test_what_was_measured_offline_has_a_table(more: dict[str, Any]) -> None:
    bench = {"bench": "throughput", "input": 64, "output": 32}
    figures = {"requests_per_second": 2.346, "tokens_per_second": 225.22}
    found = measured.Run.model_validate(run(offline=[{**bench, "result": figures}], **more))
    [row] = bench_report.body([found])["offline"]
    assert (row["requests/s"], row["tokens/s, both ways"], row["latency s, mean"]) == (
        2.35,
        225.2,
        None,
    )
    assert "225.2" in bench_report.as_html([found]) and "225.2" in bench_report.as_markdown([found])
