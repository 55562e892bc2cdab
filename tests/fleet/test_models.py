"""A lock is refused unless every file in it can only be a file of that model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet import known_models, models, speculators
from fleet.problems import SettingsError
from tests.fleet.examples import COMMIT, DENSE, SHA, lock


def load(tmp_path: Path, raw: object) -> models.ModelLock:
    (tmp_path / "org--x.yaml").write_text(yaml.safe_dump(raw))
    return models.load("org/x", tmp_path)


def with_file(**changes: object) -> dict[str, Any]:
    raw = lock("org/x", DENSE)
    raw["files"][1] |= changes
    return raw


def test_a_lock_says_where_the_model_lies_and_how_big_it_is(tmp_path: Path) -> None:
    found = load(tmp_path, lock("org/x", DENSE, gib=2))
    assert found.snapshot == f"models--org--x/snapshots/{COMMIT}"
    assert found.size == 2 * 2**30 + 700


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a//b", "a/", "", ".", "a\\b", "a\nb", "./a", "x" * 600],
)
def test_a_path_that_leaves_the_model_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsError, match=r"^models/org--x.yaml: files\[1\].path: found "):
        load(tmp_path, with_file(path=path))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"path": "config.json"}, "files: found a list, allowed: every path once"),
        (
            {"path": "config.json/x"},
            "files: found a list, allowed: a path is a file or a folder, not both: config.json",
        ),
        ({"size": -1}, "files[1].size: found -1, allowed: 0 or more"),
        ({"size": "1"}, "files[1].size: found '1', allowed: a whole number"),
        ({"sha256": "B" * 64}, f"files[1].sha256: found '{'B' * 64}', allowed: ^[0-9a-f]{{64}}$"),
        ({"sha256": None}, "files[1].sha256: found None, allowed: text"),
        ({"mode": 1}, "files[1].mode: unknown key"),
    ],
)
def test_a_mistake_in_a_file_is_told(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, with_file(**changes))
    assert caught.value.problems == (f"models/org--x.yaml: {problem}",)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "revision",
            "main",
            "revision: found 'main', allowed: the commit, 40 hexadecimal digits",
        ),
        ("files", [], "files: found an empty list, allowed: at least 1 of them"),
        ("repo", "org/y", "repo: found 'org/y', allowed: 'org/x'"),
        ("repo", "org/x/z", "repo: found 'org/x/z', allowed: ORG/NAME, a repository of the Hub"),
    ],
)
def test_a_mistake_in_a_lock_is_told(tmp_path: Path, key: str, value: object, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {**lock("org/x", DENSE), key: value})
    assert caught.value.problems == (f"models/org--x.yaml: {problem}",)


def test_a_model_without_a_lock_is_told_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        models.load("org/x", tmp_path)
    assert str(caught.value) == (
        "vllm_model: vllm_model: found 'org/x', allowed: a model with a lock in models/; make one "
        "with: fleet lock org/x"
    )


@pytest.mark.parametrize(
    "repo", ["x", "a/b/c", "../x/y", "a/..", "a--b/c", "-a/b", "a/b.git", "a/ b"]
)
def test_a_name_the_hub_would_not_have_is_refused(tmp_path: Path, repo: str) -> None:
    with pytest.raises(SettingsError, match="allowed: ORG/NAME"):
        models.load(repo, tmp_path)


@pytest.mark.parametrize("repo", models.names())
def test_every_lock_in_the_repository_loads(repo: str) -> None:
    assert models.load(repo).repo == repo


def test_every_speculator_names_its_source_and_a_depth() -> None:
    for model, known in speculators.known().items():
        assert known.source, model
        assert known.draft != model or model.startswith("lab/")
        assert known.method != "eagle3" or known.draft


def test_a_mistake_in_the_speculators_is_told(tmp_path: Path) -> None:
    (tmp_path / speculators.FILE).write_text("org/x: {method: magic, source: me}")
    with pytest.raises(SettingsError) as caught:
        speculators.known(tmp_path)
    assert str(caught.value) == (
        "models/speculators.yaml: org/x.method: found 'magic', allowed: 'eagle3', 'mtp' or "
        "'draft_model'"
    )


def test_sha_and_commit_of_the_examples_are_what_a_lock_wants() -> None:
    assert (len(COMMIT), len(SHA)) == (40, 64)


def test_what_is_known_of_a_model_names_its_source_and_is_no_lock() -> None:
    found = known_models.known("deepseek-ai/DeepSeek-V3")
    assert found
    assert found.source
    assert not models.is_locked("deepseek-ai/DeepSeek-V3")
    assert known_models.known("org/unheard-of") is None
