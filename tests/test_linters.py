"""The linters are tests, so that one command checks everything."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*argv: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".")


def test_ruff_would_not_reformat() -> None:
    run("ruff", "format", "--check", ".")


def test_mypy_strict_finds_nothing() -> None:
    run("mypy")


def test_fleet_is_pure() -> None:
    """Nothing that decides may reach a host."""
    for path in tracked("fleet/*.py"):
        assert not imports(path) & {"pyinfra", "pyinfra_cli", "paramiko", "gevent", "deploys"}, path


def test_deploys_read_no_yaml() -> None:
    for path in tracked("deploys/*.py", "*.py"):
        if path.parent in (ROOT, ROOT / "deploys"):
            assert "yaml" not in imports(path), path


def test_host_programs_need_only_the_standard_library() -> None:
    own = {path.stem for path in tracked("files/*.py")}
    for path in tracked("files/*.py"):
        foreign = imports(path) - set(sys.stdlib_module_names) - own
        # check_arguments runs inside the serving image, beside vLLM.
        allowed = {"vllm", "yaml"} if path.stem == "check_arguments" else set()
        assert foreign <= allowed, f"{path}: {foreign}"


# What would trust any host key, or read a text as commands.
UNSAFE = (
    *(r"StrictHostKeyChecking\W+(no|off|accept)", "AutoAddPolicy", "WarningPolicy"),
    *("shell=True", r"os\.system\(", "verify=False"),
)


@pytest.mark.parametrize("pattern", UNSAFE)
def test_no_program_trusts_any_host_or_reads_text_as_commands(pattern: str) -> None:
    for path in tracked("*.py", "files", "lab", "templates"):
        if path.is_relative_to(ROOT / "tests"):
            continue
        assert not re.search(pattern, path.read_bytes().decode(errors="replace")), path


# Put together here, so that this file itself names none of them.
REGISTRIES = (r"deb\.deb" + "ian", r"pypi\." + "org", "python" + "hosted", "npm" + "js")
HERE = (re.escape(f"{ROOT}/"), re.escape(f"{Path.home()}/."))


@pytest.mark.parametrize("pattern", [*REGISTRIES, *HERE])
def test_no_source_names_a_registry_host_or_this_machine(pattern: str) -> None:
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        assert not re.search(pattern, text), path
