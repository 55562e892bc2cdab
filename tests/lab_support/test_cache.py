"""Artefacts are built once, whole or not at all, and again when their inputs change."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import cache
from lab.cache import UNUSED_DAYS, artefact, digest_of
from lab.testing import REPO


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    return tmp_path


def write(text: str, built: list[str]) -> Callable[[Path], None]:
    """A build that leaves a file and says that it ran."""

    def build(out: Path) -> None:
        built.append(text)
        (out / "content").write_text(text)

    return build


def test_the_same_inputs_are_built_once() -> None:
    built: list[str] = []
    first = artefact("thing", {"version": 1}, write("one", built))
    again = artefact("thing", {"version": 1}, write("two", built))
    assert first == again
    assert (again / "content").read_text() == "one"
    assert built == ["one"]


def test_other_inputs_are_another_artefact_and_the_old_one_stays() -> None:
    built: list[str] = []
    old = artefact("thing", {"version": 1}, write("one", built))
    new = artefact("thing", {"version": 2}, write("two", built))
    assert built == ["one", "two"]
    assert (old / "content").read_text() == "one"
    assert (new / "content").read_text() == "two"


def test_a_failed_build_leaves_nothing_that_counts(own_cache: Path) -> None:
    def fail(out: Path) -> None:
        (out / "half").write_text("")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        artefact("thing", 1, fail)
    assert not [path for path in (own_cache / "thing").iterdir() if path.is_dir()]
    built: list[str] = []
    assert (artefact("thing", 1, write("one", built)) / "content").exists()


BUILD = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from lab import cache
from lab.cache import artefact
def build(out):
    (out / "half").write_text("")
    print("building", flush=True)
    time.sleep(float(sys.argv[1]))
    (out / "whole").write_text("")
print(artefact("thing", 1, build))
"""


def start(seconds: float) -> subprocess.Popen[str]:
    """Another process that builds the same artefact in ``seconds``."""
    words = [sys.executable, "-c", BUILD, str(seconds)]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def test_a_killed_build_is_begun_anew(own_cache: Path) -> None:
    process = start(60)
    assert process.stdout and process.stdout.readline() == "building\n"
    process.kill()
    process.communicate()
    built: list[str] = []
    ready = artefact("thing", 1, write("one", built))
    assert sorted(path.name for path in ready.iterdir()) == ["content"]
    assert not list((own_cache / "thing").glob("*.part-*"))


def test_two_that_want_it_at_once_build_it_once() -> None:
    processes = [start(0.5), start(0.5)]
    said = [process.communicate(timeout=30)[0] for process in processes]
    assert [text.count("building") for text in sorted(said)].count(1) == 1
    assert {text.splitlines()[-1] for text in said} == {said[0].splitlines()[-1]}


def test_what_nobody_used_for_days_goes_with_the_next_build() -> None:
    built: list[str] = []
    old = artefact("thing", 1, write("one", built))
    recent = artefact("thing", 2, write("two", built))
    long_ago = time.time() - UNUSED_DAYS * 86400 - 60
    os.utime(old, (long_ago, long_ago))
    artefact("thing", 3, write("three", built))
    assert not old.exists()
    assert recent.exists()


def test_a_digest_follows_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = digest_of(folder)
    assert digest_of(folder) == first
    (folder / "a").rename(folder / "b")
    renamed = digest_of(folder)
    (folder / "b").write_text("2")
    assert len({first, renamed, digest_of(folder)}) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_a_killed_builder_mounted_is_not_deleted(own_cache: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    part = own_cache / "thing" / f"{cache.key(1)}.part-killed"
    (part / "dev").mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, part / "dev"], check=True)
    built: list[str] = []
    artefact("thing", 1, write("one", built))
    assert (precious / "file").exists()
    assert not part.exists()
