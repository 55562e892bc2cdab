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


class Checkout:
    """The project with other defaults: ``fleet`` as a person runs it in there."""

    def __init__(self, folder: Path, defaults: str) -> None:
        self.folder = folder
        for name in ("fleet", "modes", "models", "templates", "files"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "group_data").mkdir()
        text = (ROOT / "group_data/all.py").read_text()
        (folder / "group_data/all.py").write_text(f"{text}\n{defaults}\n")

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fleet", *argv],
            cwd=self.folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip


def test_a_replica_of_two_hosts_is_shown_and_fitted_as_one(tmp_path: Path) -> None:
    pair = Checkout(tmp_path, "tensor_parallel = 2")
    done = pair.run("show", "standard", "--model", "lab/tiny")
    assert done.returncode == 0 and "--tensor-parallel-size 2" in done.stdout, done.stderr
    assert pair.run("fit", "lab/tiny", "--mode", "standard").returncode == 0
    done = pair.run("show", "standard", "--model", "lab/tiny", "--hosts", "1")
    assert done.returncode == 0 and "--tensor-parallel-size" not in done.stdout, done.stderr
    image = f"vllm_image=example/vllm@sha256:{'0' * 64}"
    words = ["--data", image, "--data", "vllm_model=lab/tiny", "--data", "extra_ca=/nope"]
    done = pair.run("bundle", str(tmp_path / "bundle"), *words)
    assert done.stderr == "/nope: no certificate to trust: No such file or directory\n"


def test_fit_takes_the_remedy_that_it_named(capsys: pytest.CaptureFixture[str]) -> None:
    model = ("fit", "deepseek-ai/DeepSeek-V3", "--mode", "deepseek")
    sizes = ("--data", "tensor_parallel=8")
    assert "8 hosts (tensor_parallel 8, pipeline_parallel 1)" in json.dumps(
        json.loads(run(capsys, *model, "--json")[1])
    )
    for more in (("--hosts", "8"), sizes, ("--hosts", "8", *sizes)):
        assert run(capsys, *model, *more)[0] == 0
    _, out, _ = run(capsys, *model, "--hosts", "4", *sizes, "--json")
    assert "found 8, in all 8 GPUs; the replica has 4" in json.loads(out)[0]["problem"]


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ("port = -5", "group_data/all.py: port: found -5, allowed: 1024 or more\n"),
        ('vlm_mode = "x"', "group_data/all.py: vlm_mode: unknown key; did you mean 'vllm_mode'?\n"),
    ],
)
def test_a_mistake_in_the_defaults_names_their_file(
    tmp_path: Path, defaults: str, told: str
) -> None:
    done = Checkout(tmp_path, defaults).run("show", "standard", "--model", "lab/tiny")
    assert (done.returncode, done.stderr) == (1, told)


def test_a_setting_that_show_does_not_need_is_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("show", "standard", "--model", "lab/tiny")
    assert run(capsys, *tiny, "--data", "api_port=9000")[0] == 0
    defaults = 'import os\n_here = os.getcwd()\nssh_user = "fleet"\napi_port = 9000'
    done = Checkout(tmp_path, defaults).run(*tiny)
    assert done.returncode == 0, done.stderr


def test_the_default_model_is_the_fleets() -> None:
    for words in (("show", "--help"), ("fit", "--help")):
        done = subprocess.run(
            [sys.executable, "-m", "fleet", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert "placeholder" not in done.stdout and "--hosts N" in done.stdout


def test_what_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINJPf robot@control")
    out = tmp_path / "file"
    out.touch()
    words = ("seed", "spark-01", "--public-key", str(tmp_path / "key.pub"), "--out", str(out))
    told = f"--out: found {out}, Not a directory; allowed: a folder to write in\n"
    assert run(capsys, *words) == (1, "", told)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fleet", "settings"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    told = "standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)
