"""The stage-time check as it runs: source and request on a Python's stdin, one JSON line back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "files/check_arguments.py").read_text()
GOOD: dict[str, object] = {"model": "/models/hub/x", "max-model-len": 512, "port": 8000}


def ask(python: Path | str, path: str, config: dict[str, object], env: dict[str, str]) -> Any:
    """What the program answers on an interpreter that finds modules on ``path``."""
    request = {"config": yaml.safe_dump(config), "env": env}
    done = subprocess.run(
        [str(python), "-"],
        input=f"{SOURCE}\nmain({json.dumps(request)})",
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def stand_in(config: dict[str, object], env: dict[str, str] | None = None) -> Any:
    return ask(sys.executable, str(ROOT / "lab/content"), config, env or {})


def test_the_stand_in_takes_what_it_knows() -> None:
    answer = stand_in(GOOD, {"VLLM_CACHE_ROOT": "/cache", "HF_HUB_OFFLINE": "1"})
    assert answer == {"ok": True, "version": "standin", "problems": []}


def test_an_unknown_flag_is_named_in_one_line() -> None:
    answer = stand_in(GOOD | {"no-such-flag": 1})
    assert not answer["ok"]
    (problem,) = answer["problems"]
    assert "no-such-flag" in problem
    assert "\n" not in problem


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    answer = stand_in(GOOD, {"VLLM_CACHE_ROT": "/cache", "OTHER": "1"})
    assert answer["problems"] == [
        "vllm.env: VLLM_CACHE_ROT: unknown to this image's vLLM; did you mean VLLM_CACHE_ROOT?"
    ]


def test_all_mistakes_are_told_at_once() -> None:
    assert len(stand_in(GOOD | {"nope": 1}, {"VLLM_USE_V1": "1"})["problems"]) == 2


def test_an_image_without_vllm_is_no_server() -> None:
    answer = ask(sys.executable, "", GOOD, {})
    assert not answer["ok"]
    assert "no vLLM that can be imported" in answer["problems"][0]


@pytest.mark.vllm
class TestRealParser:
    """vLLM 0.33.0's own parser and list of names."""

    def ask(self, config: dict[str, object], env: dict[str, str] | None = None) -> Any:
        from tests.vllm import environment

        built = environment.path()
        return ask(built / "venv/bin/python", str(built / "tree"), config, env or {})

    def test_takes_a_release(self) -> None:
        answer = self.ask(GOOD, {"VLLM_CACHE_ROOT": "/cache"})
        assert answer == {"ok": True, "version": "0.33.0", "problems": []}

    def test_refuses_what_a_validator_or_the_list_of_names_refuses(self) -> None:
        answer = self.ask(GOOD | {"enable-auto-tool-choice": True}, {"VLLM_ENABLE_NVFP4": "1"})
        argument, name = answer["problems"]
        assert argument.startswith("vllm.yaml: TypeError: ")
        assert "tool" in argument
        assert name.startswith("vllm.env: VLLM_ENABLE_NVFP4: unknown to this image's vLLM")
