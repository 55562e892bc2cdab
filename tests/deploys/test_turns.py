"""The rollout that all hosts of a run share, in a real run over pyinfra's pretend hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploys.command_line import fake_inventory, run

DEPLOY = """
from pyinfra import host, state
from pyinfra.api.command import FunctionCommand
from pyinfra.api.operation import operation

from deploys import host_settings, turns


def turn(state, host, settings):
    with turns.taken(settings, "odd"):
        wave = turns.rollout(settings, "odd").turn(host.name)
        print(f"{host.name} wave {wave}")
        if host.name == BROKEN and WHERE == "turn":
            raise OSError("the disk is gone")
        turns.rollout(settings, "odd").report(host.name, "switched")
        return turns.rollout(settings, "odd").must_revert(host.name)


@operation()
def odd(settings):
    with turns.taken(settings, "odd"):
        if host.name == BROKEN and WHERE == "before" and state.is_executing:
            raise OSError("the disk is gone")
        if state.is_executing:
            turns.rollout(settings, "odd").declare(host.name, True)
    yield FunctionCommand(turn, (settings,), {})


odd(name="Take turns", settings=host_settings())
"""


@pytest.mark.parametrize(("where", "wave"), [("before", "None"), ("turn", "0")])
def test_a_host_that_raises_ends_the_run_and_keeps_no_other_waiting(
    tmp_path: Path, where: str, wave: str
) -> None:
    deploy = tmp_path / "odd.py"
    deploy.write_text(f"BROKEN, WHERE = '@fake/01', {where!r}\n{DEPLOY}")
    done = run(fake_inventory(tmp_path, 3), deploy, "-y")
    assert done.returncode != 0
    assert "the disk is gone" in done.stdout, done.stdout
    seen = {line for line in done.stdout.splitlines() if " wave " in line}
    others = {f"@fake/{n:02d} wave None" for n in (2, 3)}
    assert seen - {f"@fake/01 wave {wave}"} == others, done.stdout
