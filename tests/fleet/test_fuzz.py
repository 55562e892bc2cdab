"""Whatever a person, a file or a Hub says: it loads, or it is a SettingsError of clean lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet import models, modes, speculators
from fleet import settings as fleet_settings
from fleet.modes import Mode
from fleet.problems import SettingsError
from fleet.render import release
from fleet.serving import Catalogue
from fleet.yamlfile import parse, validate
from tests.fleet.examples import DATA, DENSE, lock, where

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "-x", "../..", "org/dense", "fp8", "a\nb", "\x00", "1" * 5000, "25%"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | scalars, inner, max_size=4)
    ),
    max_leaves=12,
)
keys = st.sampled_from(sorted(fleet_settings.Data.model_fields)) | st.text(max_size=20)
names = st.sampled_from(
    [
        "max-model-len",
        "attention-backend",
        "compilation-config",
        "speculative-config",
        "quantization",
    ]
)


def clean(error: SettingsError) -> bool:
    """One printable, bounded line for each problem."""
    return bool(error.problems) and all(
        line.isprintable() and 0 < len(line) < 2000 for line in error.problems
    )


@FUZZ
@given(changes=st.dictionaries(keys, values, max_size=4))
def test_any_host_data(files: Catalogue, changes: dict[str, Any]) -> None:
    try:
        found = fleet_settings.load("h", {**DATA, **changes}, where, catalogue=files)
    except SettingsError as error:
        assert clean(error), error.problems
    else:
        check_release(found)


@FUZZ
@given(args=st.dictionaries(names | st.text(max_size=12), values, max_size=3), env=values)
def test_any_arguments_and_environment(files: Catalogue, args: dict[str, Any], env: Any) -> None:
    data = {**DATA, "vllm_args": args, "vllm_env": env}
    try:
        found = fleet_settings.load("h", data, where, catalogue=files)
    except SettingsError as error:
        assert clean(error), error.problems
    else:
        check_release(found)


def check_release(found: fleet_settings.Settings) -> None:
    """Whatever was accepted is read back unchanged by a YAML parser."""
    rendered = release(found).files
    config = yaml.safe_load(rendered["vllm.yaml"])
    for name, value in found.vllm_args.items():
        if value not in (None, True, False):
            assert config[name] == value
    assert yaml.safe_load(rendered["compose.yaml"])["services"].keys() == {"vllm"}
    assert all("=" in line for line in rendered["vllm.env"].splitlines())


@FUZZ
@given(text=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | values.map(yaml.dump))
def test_any_text_as_a_mode_a_lock_or_speculators(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    (tmp_path / "org--x.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    (tmp_path / speculators.FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (
        lambda: modes.load("mine", tmp_path),
        lambda: models.load("org/x", tmp_path),
        lambda: speculators.known(tmp_path),
    ):
        try:
            read()
        except SettingsError as error:
            assert clean(error), error.problems


@FUZZ
@given(
    kind=st.sampled_from([Mode, models.ModelLock]),
    key=st.sampled_from(["args", "env", "needs", "suits", "files", "config", "repo", "revision"]),
    value=values,
)
def test_any_value_in_a_mode_or_a_lock(kind: Any, key: str, value: Any) -> None:
    good = lock("org/x", DENSE) if kind is models.ModelLock else {"purpose": "x", "args": {}}
    try:
        validate(kind, {**good, key: value}, "mine.yaml")
    except SettingsError as error:
        assert clean(error), error.problems


@FUZZ
@given(config=st.dictionaries(st.sampled_from(sorted(DENSE)) | st.text(max_size=9), values))
def test_any_facts_in_a_lock(files: Catalogue, tmp_path: Path, config: dict[str, Any]) -> None:
    try:
        raw = {**lock("org/x", {**DENSE, **config})}
        (tmp_path / "org--x.yaml").write_text(yaml.safe_dump(raw))
    except (yaml.YAMLError, UnicodeEncodeError):
        return
    try:
        data = {**DATA, "vllm_model": "org/x"}
        found = Catalogue(modes=files.modes, models=tmp_path)
        fleet_settings.load("h", data, where, catalogue=found)
    except SettingsError as error:
        assert clean(error), error.problems


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 2000,
        "? " * 3000,
        "a: " + "1" * 10_000,
        "a: 2001-99-99",
        "a: 1:60:70",
        "a: !!binary '=='",
        "a: !!timestamp x",
        "- " * 20_000,
        "<<: {a: 1}",
        "a: \ud83d",
        "%YAML 9.9\n---\na: 1",
        "a: !!int x",
        "a: !!float x",
    ],
    ids=lambda text: text[:12],
)
def test_the_known_traps_of_yaml(text: str) -> None:
    try:
        parse(text, "mine.yaml")
    except SettingsError as error:
        assert clean(error), error.problems
