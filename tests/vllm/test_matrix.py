"""Every mode with every kind of model, as rendered, through vLLM's parser and engine config."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fleet import modes, render, serving, vllm_config
from fleet.problems import SettingsError
from tests.vllm import environment, stand_ins
from tests.vllm.conftest import Workspace
from tests.vllm.lines import BAD, GOOD, Line
from tests.vllm.stand_ins import STAND_INS, StandIn

pytestmark = pytest.mark.vllm

JUDGE = Path(__file__).parent / "judge.py"
MATRIX = list(product(modes.names(), STAND_INS))
BY_REPO = {one.repo: one for one in (*STAND_INS, stand_ins.DRAFT, stand_ins.DEEPSEEK)}
CERTAIN = {  # of the modes with a purpose of their own: the kinds they are for
    "deepseek": ["MLA MoE"],
    "nvfp4": [one.kind for one in STAND_INS if "NVFP4" in one.kind],
    "speculative": ["EAGLE-3 pair", "hybrid MoE with MTP"],
    "long-context": [one.kind for one in STAND_INS],
    "standard": [one.kind for one in STAND_INS],
    "ultimate": [one.kind for one in STAND_INS],
}


@dataclass(frozen=True)
class Verdicts:
    """What vLLM said, by name of the case; what we refused ourselves, with our words."""

    vllm: dict[str, dict[str, Any]]
    ours: dict[str, str]


def title(mode: str, stand_in: StandIn) -> str:
    return f"{mode}: {stand_in.kind}"


def rendered(workspace: Workspace, mode: str, stand_in: StandIn) -> dict[str, Any]:
    """The release as a case: its vllm.yaml with the model's path put in, its environment."""
    data = {
        "vllm_mode": mode,
        "vllm_model": stand_in.repo,
        "vllm_image": f"vllm/vllm-openai@sha256:{'0' * 64}",
    }
    settings = serving.load(data, lambda key: "test", catalogue=workspace.catalogue)
    files = render.release(settings).files
    config = workspace.folder / f"{mode}-{stand_in.repo.replace('/', '--')}.yaml"
    config.write_text(files["vllm.yaml"].replace(f'"{vllm_config.HUB}/', f'"{workspace.hub}/'))
    pairs = (line.split("=", 1) for line in files["vllm.env"].splitlines() if line[:1] != "#")
    # Paths are those of the container; everything else is judged as it is.
    env = {name: value for name, value in pairs if not value.startswith("/")}
    return {"name": title(mode, stand_in), "config": str(config), "env": env}


def command(workspace: Workspace, line: Line) -> dict[str, Any]:
    draft = str(workspace.snapshot(stand_ins.DRAFT))
    args = [arg.replace("{draft}", draft) for arg in line.args]
    model = str(workspace.snapshot(BY_REPO[line.model]))
    return {"name": line.name, "args": [model, *args], "env": line.env, "lint": False}


@pytest.fixture(scope="module")
def verdicts(workspace: Workspace) -> Verdicts:
    cases, ours = [], {}
    for mode, stand_in in MATRIX:
        try:
            cases.append(rendered(workspace, mode, stand_in))
        except SettingsError as error:
            ours[title(mode, stand_in)] = str(error)
    cases += [command(workspace, line) for line in (*BAD, *GOOD)]
    environment.path()
    started = time.monotonic()
    answers = environment.run(JUDGE, json.dumps(cases)).splitlines()
    vllm = {answer["name"]: answer for answer in map(json.loads, answers)}
    passed = sum(answer["ok"] for answer in vllm.values())
    print(
        f"\nvLLM accepted {passed} and rejected {len(vllm) - passed} of {len(vllm)} configurations "
        f"in {time.monotonic() - started:.0f} s; {len(ours)} of {len(MATRIX)} combinations of mode "
        "and model were refused before that"
    )
    return Verdicts(vllm, ours)


@pytest.mark.parametrize(
    ("mode", "stand_in"), MATRIX, ids=lambda value: getattr(value, "kind", value)
)
def test_vllm_accepts_what_we_render(verdicts: Verdicts, mode: str, stand_in: StandIn) -> None:
    name = title(mode, stand_in)
    if name in verdicts.ours:
        assert "found" in verdicts.ours[name]
        return
    assert verdicts.vllm[name]["ok"], verdicts.vllm[name]["detail"]


@pytest.mark.parametrize("mode", CERTAIN)
def test_a_mode_takes_the_kinds_it_is_for(verdicts: Verdicts, mode: str) -> None:
    taken = [one.kind for one in STAND_INS if title(mode, one) not in verdicts.ours]
    assert taken == CERTAIN[mode]


def test_every_mode_is_in_the_matrix() -> None:
    assert {name for name in modes.names() if not name.startswith("lab-")} == set(CERTAIN)


@pytest.mark.parametrize("line", BAD, ids=lambda line: line.name)
def test_vllm_refuses(verdicts: Verdicts, line: Line) -> None:
    answer = verdicts.vllm[line.name]
    assert not answer["ok"]
    assert line.reason in answer["detail"]


@pytest.mark.parametrize("line", GOOD, ids=lambda line: line.name)
def test_vllm_accepts(verdicts: Verdicts, line: Line) -> None:
    assert verdicts.vllm[line.name]["ok"], verdicts.vllm[line.name]["detail"]


def test_the_mode_arrives(verdicts: Verdicts) -> None:
    """What vLLM chose is what the mode's name promises."""
    nvfp4 = verdicts.vllm["nvfp4: MoE NVFP4, ModelOpt"]["detail"]
    assert (nvfp4["quantization"], nvfp4["moe"], nvfp4["kv"]) == ("modelopt_fp4", "marlin", "fp8")
    assert verdicts.vllm["speculative: EAGLE-3 pair"]["detail"]["speculative"] == "eagle3"
    assert verdicts.vllm["speculative: hybrid MoE with MTP"]["detail"]["speculative"] == "mtp"
    assert verdicts.vllm["ultimate: dense FP8"]["detail"]["sequences"] == 256
    assert verdicts.vllm["deepseek: MLA MoE"]["detail"]["attention"] == "auto"
