"""Names, paths and the state of a lab, without one running."""

from pathlib import Path

import pytest

from lab import state
from lab.command import LabError, run
from lab.hosts import hosts_file, last_words
from lab.lifecycle import wanted
from lab.paths import cache_dir, check_name, default_name


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "a-b", "a/b", "..", "abcdefghijklm"])
def test_names_that_could_do_harm_are_refused(name: str) -> None:
    with pytest.raises(LabError, match=r"lab name: found .*, allowed: 1-12 of a-z and 0-9"):
        check_name(name)


def test_the_environment_names_lab_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "mine")
    monkeypatch.setenv("LAB_CACHE", "/elsewhere")
    assert default_name() == "mine"
    assert cache_dir() == Path("/elsewhere")
    monkeypatch.delenv("LAB_NAME")
    monkeypatch.delenv("LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_name() == "lab"
    assert cache_dir() == Path("/caches/spark-vllm-fleet/lab")


def test_a_state_comes_back_as_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.paths.RUN", tmp_path)
    saved = state.State(
        "mine",
        platform="dgx",
        hosts=state.new_hosts(2),
        layers=("/a", "/b"),
        names=("archive.lab",),
        images={"vllm-cpu": "x@sha256:0"},
    )
    state.save(saved)
    assert state.load("mine") == saved
    assert state.update("mine", ready=True).ready
    assert state.load("mine").ready


def test_a_lab_that_is_not_up_is_told_with_the_remedy() -> None:
    with pytest.raises(
        LabError, match="lab nolab: not up; start it: python -m lab up --name nolab"
    ):
        state.load("nolab")


def test_a_state_of_another_version_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.paths.RUN", tmp_path)
    (tmp_path / "mine").mkdir()
    for text in ('{"hosts": [], "layers": [], "names": [], "colour": 1}', "{", "{}", "[]"):
        (tmp_path / "mine/state.json").write_text(text)
        with pytest.raises(LabError, match=r"not a state of this version .*python -m lab down"):
            state.load("mine")


def test_hosts_are_numbered_and_an_unknown_one_is_told() -> None:
    lab = wanted("mine", 3)
    assert [host.address for host in lab.hosts] == ["198.18.77.11", "198.18.77.12", "198.18.77.13"]
    assert lab.host("spark-03").address == "198.18.77.13"
    with pytest.raises(LabError, match="no host 'spark-04'; hosts: spark-01, spark-02, spark-03"):
        lab.host("spark-04")


@pytest.mark.parametrize("count", [0, 41])
def test_a_senseless_number_of_hosts_is_refused(count: int) -> None:
    with pytest.raises(LabError, match=f"--hosts: found {count}, allowed: 1 to 40"):
        wanted("mine", count)


def test_vendor_names_lead_to_the_control_side() -> None:
    lab = wanted("mine", 2)
    text = hosts_file(lab, lab.hosts[0], ("download.docker.com",))
    assert "198.18.77.1 control download.docker.com\n" in text
    assert "198.18.77.12 spark-02\n" in text
    assert "127.0.1.1 spark-01\n" in text


def test_a_failing_program_is_one_line() -> None:
    with pytest.raises(LabError) as caught:
        run("sh", "-c", "echo first >&2; echo last >&2; exit 3")
    assert str(caught.value).endswith("exit status 3: last")
    assert "\n" not in str(caught.value).replace("\\n", "")
    with pytest.raises(LabError, match="no-such-program: not installed on this machine"):
        run("no-such-program")


def test_a_panic_counts_more_than_what_came_after() -> None:
    assert last_words("start\nlab: Kernel panic - x\nStarting y\n") == "lab: Kernel panic - x"
    assert last_words("a\nb\n\nAttempted to remove disk file system under z\n") == "b"
    assert last_words("") == "nothing"
