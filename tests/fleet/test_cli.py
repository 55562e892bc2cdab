"""The ``fleet`` command as a person runs it: output, exit codes, one line for a mistake."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fleet import cli, group_data, models, modes
from fleet.problems import SettingsError

ROOT = Path(__file__).parent.parent.parent


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_modes_lists_every_mode_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "modes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:] if line[0] != " "] == modes.names()
    code, out, _ = run(capsys, "modes", "--json")
    rows = {row["mode"]: row for row in json.loads(out)}
    assert rows["nvfp4"]["needs"] == ["nvfp4"]
    assert rows["nvfp4"]["memory_fraction"] == 0.5


@pytest.mark.parametrize("mode", ["standard", "ultimate", "long-context", "lab-standard"])
def test_show_prints_a_command_that_equals_the_config(
    capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    code, out, _ = run(capsys, "show", mode, "--model", "lab/tiny", "--json")
    assert code == 0
    shown = json.loads(out)
    config = yaml.safe_load(shown["files"]["vllm.yaml"])
    words = shlex.split(shown["command"])
    assert words[:3] == ["vllm", "serve", config.pop("model")]
    assert [word for word in words if word.startswith("--")] == [f"--{name}" for name in config]
    assert shown["memory"]["verdict"] == "fits"


def test_show_prints_all_files_and_the_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "standard", "--model", "lab/tiny")
    assert code == 0
    for part in ("--- vllm.yaml", "--- vllm.env", "--- compose.yaml", "--- memory of", "KV cache"):
        assert part in out
    assert out.rstrip().endswith("fits")


def test_show_invents_nothing_for_a_model_that_is_not_locked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = "example/Unknown-NVFP4"
    assert not models.is_locked(model)
    code, out, _ = run(capsys, "show", "nvfp4", "--model", model)
    assert code == 0
    assert f"model {model}, not locked (COMMIT stands for its commit)" in out
    assert out.endswith(f"unknown: {model} has no lock; make one with: fleet lock {model}\n")


def test_deepseek_v3_on_one_host_is_refused_with_the_hosts_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ("show", "deepseek", "--model", "deepseek-ai/DeepSeek-V3")
    code, out, _ = run(capsys, *argv)
    assert code == 1
    assert "too little" in out
    assert "refused: deepseek-ai/DeepSeek-V3: weights take 624.9 GiB on each of 1 host" in out
    needed = json.loads(run(capsys, *argv, "--json")[1])["memory"]["hosts_needed"]
    assert 6 < needed <= 8


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (
            ("show", "nope"),
            "command line: vllm_mode: found 'nope', allowed: deepseek, lab-alternative, "
            "lab-speculative, lab-standard, long-context, nvfp4, speculative, standard, ultimate",
        ),
        (
            ("show", "nvfp4", "--model", "lab/tiny"),
            "command line: vllm_model: found 'lab/tiny', weights that are not quantized; mode "
            "'nvfp4' allows: an NVFP4 checkpoint",
        ),
        (
            ("show", "standard", "--model", "lab/tiny", "--data", "port=1"),
            "command line: port: found 1, allowed: 1024 or more",
        ),
        (("show", "standard", "--data", "port"), "--data: found 'port', allowed: KEY=VALUE"),
        (
            ("fit", "lab/absent"),
            "command line: vllm_model: found 'lab/absent', allowed: a model with a lock in models/;"
            " make one with: fleet lock lab/absent",
        ),
        (
            ("lock", "tiny"),
            "command line: found 'tiny', allowed: ORG/NAME, a repository of the Hub",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], problem: str
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out, err) == (1, "", problem + "\n")


@pytest.mark.parametrize("argv", [(), ("shw",), ("show",), ("modes", "--js")])
def test_a_wrong_command_line_is_exit_code_2(argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_fit_says_for_each_mode_whether_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "fit", "lab/tiny", "--json")
    rows = {row["mode"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["standard"]["verdict"] == "fits"
    assert rows["deepseek"]["verdict"] == "refused"
    assert "without MLA" in rows["deepseek"]["problem"]


def test_broken_group_data_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text("vllm_mode = \n")
    with pytest.raises(SettingsError, match=r"^group_data/all.py: cannot be read: SyntaxError: "):
        group_data.serving(tmp_path / "all.py")


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m fleet show standard --model lab/tiny | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_fleet_command_loads_no_pyinfra() -> None:
    """Also not by way of something it imports."""
    check = (
        "import sys, pkgutil, importlib, fleet;"
        "[importlib.import_module(f'fleet.{m.name}') for m in pkgutil.iter_modules(fleet.__path__)"
        " if m.name != '__main__'];"
        "sys.exit(', '.join(m for m in sys.modules if m.split('.')[0] in "
        "('pyinfra', 'pyinfra_cli', 'gevent', 'paramiko', 'deploys')) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'files'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_render_and_host_programs_agree_on_names() -> None:
    import layout

    from fleet import render

    assert (layout.CONTAINER, layout.PROJECT) == (render.CONTAINER, render.PROJECT)
    template = (ROOT / "templates" / "compose.yaml.j2").read_text()
    assert f'"{layout.RELEASES}/"' in template
    assert f'"{layout.CACHE}"' in template
