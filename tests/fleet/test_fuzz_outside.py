"""What others say (recipes, the Hub, hosts, servers): used, or refused in one clean line."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import completion
import metrics
import pytest
import release as host_release
from errors import HostError
from hypothesis import given
from hypothesis import strategies as st

from fleet import difference, lock, model_config, preflight, recipes
from fleet import settings as fleet_settings
from fleet.catalogue import Catalogue
from fleet.problems import SettingsError
from fleet.snapshot import Snapshot, SnapshotError
from tests.fleet.examples import DATA, DENSE, where
from tests.fleet.host_examples import READY
from tests.fleet.test_fuzz import FUZZ, clean, scalars, values

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
RECIPE: dict[str, Any] = {
    "recipe_version": "1",
    "name": "x",
    "model": "org/x",
    "container": "vllm-node",
    "defaults": {"port": 8000, "max_model_len": 4096},
    "env": {"VLLM_USE_DEEP_GEMM": "0"},
    "command": "vllm serve org/x --port {port} --max-model-len {max_model_len}",
}
LISTING: dict[str, Any] = {
    "sha": "a" * 40,
    "siblings": [
        {"rfilename": "config.json", "size": 10, "blobId": "b" * 40},
        {"rfilename": "m.safetensors", "size": 9, "blobId": "c" * 40,
         "lfs": {"sha256": "d" * 64, "size": 9}},
    ],
    "gated": False,
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested value, the whole included."""
    inner = value.items() if isinstance(value, Mapping) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``value`` with ``new`` at ``path``."""
    if not path:
        return new
    whole = copy.deepcopy(value)
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = new
    return whole


@FUZZ
@given(path=st.sampled_from(places(RECIPE)), new=values)
def test_a_recipe(path: tuple[Any, ...], new: Any) -> None:
    try:
        found = recipes.read(put(RECIPE, path, new), "recipe.yaml")
    except SettingsError as error:
        assert clean(error), error.problems
    else:
        assert all(line.isprintable() for line in found.left)


@FUZZ
@given(command=st.text() | st.sampled_from(["vllm serve $(id)", "vllm serve 'x", "a; b", "{x"]))
def test_a_recipes_command(command: str) -> None:
    try:
        recipes.read({**RECIPE, "command": command}, "recipe.yaml")
    except SettingsError as error:
        assert clean(error), error.problems


@FUZZ
@given(path=st.sampled_from(places(LISTING)), new=json_values)
def test_what_the_hub_lists(path: tuple[Any, ...], new: Any) -> None:
    try:
        found = lock.read_listing(put(LISTING, path, new), "org/x")
    except SettingsError as error:
        assert clean(error), error.problems
    else:
        assert all(".." not in f.path.split("/") and f.path[0] != "/" for f in found.files)


@FUZZ
@given(path=st.sampled_from(places(DENSE)), new=json_values)
def test_a_models_config(path: tuple[Any, ...], new: Any) -> None:
    try:
        model_config.read_config(put(DENSE, path, new), "org/x: config.json")
    except SettingsError as error:
        assert clean(error), error.problems


@FUZZ
@given(path=st.sampled_from(places(READY)), new=json_values)
def test_what_a_host_says_of_itself(files: Catalogue, path: tuple[Any, ...], new: Any) -> None:
    settings = fleet_settings.load("h", DATA, where, catalogue=files)
    try:
        found = Snapshot.parse(json.dumps(put(READY, path, new)))
    except SnapshotError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
    else:
        assert all(f.line().isprintable() for f in preflight.findings(settings, found))


@FUZZ
@given(text=st.text() | json_values.map(json.dumps))
def test_any_answer_of_a_host(text: str) -> None:
    try:
        Snapshot.parse(text)
    except SnapshotError as error:
        assert len(str(error).splitlines()) == 1


@FUZZ
@given(text=st.text() | json_values.map(json.dumps), more=st.text())
def test_the_texts_of_a_hosts_release(text: str, more: str) -> None:
    old = {"release.json": text, "vllm.yaml": more, "vllm.env": more, "compose.yaml": more}
    lines = difference.differences(old, {**old, "release.json": "{}", "vllm.yaml": "a: 1"})
    assert all(isinstance(line, str) for line in lines)


@FUZZ
@given(text=st.text() | st.text().map(lambda t: f"vllm:num_requests_running{{a={t}}} {t}\n"))
def test_metrics(text: str) -> None:
    found = metrics.parse(text)
    assert found is None or found.running >= 0 or found.running < 0


@FUZZ
@given(line=st.sampled_from(["1e999", "nan", "-inf", "1_0", "0x1", "", "1" * 400]))
def test_a_metric_that_is_no_number(line: str) -> None:
    found = metrics.parse(f"vllm:num_requests_running {line}\nvllm:num_requests_waiting {line}\n")
    assert found is None or isinstance(found.waiting, int)


@FUZZ
@given(
    status=st.integers(100, 599),
    body=st.binary() | json_values.map(lambda v: json.dumps(v).encode()),
)
def test_an_answer_of_the_server(status: int, body: bytes) -> None:
    try:
        reply = completion._parsed("/v1/completions", status, body)
    except completion.Failed as failed:
        assert len(str(failed).splitlines()) <= 1
    else:
        assert completion._generated(reply) is not None


@FUZZ
@given(data=json_values | st.dictionaries(st.sampled_from(["digest", "port", "image"]), scalars))
def test_a_release_on_disk(data: Any) -> None:
    with pytest.raises(HostError) as refused:
        host_release.parse(data, Path("release.json"))
    assert len(str(refused.value).splitlines()) == 1
