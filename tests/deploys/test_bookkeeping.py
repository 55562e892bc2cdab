"""Cheaper bookkeeping gives the answers of pyinfra's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import Config, Inventory, arguments
from pyinfra.api.state import State
from pyinfra.api.util import get_operation_order_from_stack
from pyinfra.context import ctx_config

from deploys import bookkeeping


def _asked(state: State) -> tuple[list[int], list[int]]:
    """Ours and theirs, asked on one line: line numbers are the answer."""
    return bookkeeping.order(state), get_operation_order_from_stack(state)


def _deep(state: State, levels: int) -> tuple[list[int], list[int]]:
    return _deep(state, levels - 1) if levels else _asked(state)


@pytest.mark.parametrize("file", [__file__, "/another/deploy.py", None])
def test_an_operation_is_known_by_the_lines_that_pyinfra_finds(
    file: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyinfra.is_cli", True)
    fields: dict[str, Any] = {"current_deploy_filename": file, "current_op_file_number": 3}
    ours, theirs = _deep(cast("State", SimpleNamespace(**fields)), 4)
    assert ours == theirs
    assert ours[0] == 3
    assert len(ours) > 6 or file == "/another/deploy.py"


def test_arguments_have_the_types_that_pyinfra_finds() -> None:
    assert bookkeeping.argument_types() == arguments.all_global_arguments()
    assert bookkeeping.argument_types() is bookkeeping.argument_types()


GIVEN: list[dict[str, Any]] = [
    {"name": "Write"},
    {},
    {"name": "Write", "_timeout": 5},
    {"_sudo": False, "path": "/etc"},
]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("step", [{}, {"_sudo": False, "_env": {"A": "b"}}])
def test_an_operation_has_the_arguments_that_pyinfra_gives_it(
    given: dict[str, Any], step: dict[str, Any]
) -> None:
    state = State(Inventory((["@fake/a"], {"_timeout": 3})), Config(SUDO=True))
    host = state.inventory.get_host("@fake/a")
    with ctx_config.use(state.config.copy()):
        of_step, _ = arguments.pop_global_arguments(state, host, dict(step))
        for _ in range(2):
            with host.deploy("Step", of_step, {}):
                _asked_alike(state, given)
            _asked_alike(state, given)


def _asked_alike(state: State, given: dict[str, Any]) -> None:
    host = state.inventory.get_host("@fake/a")
    ours, theirs = dict(given), dict(given)
    asked = bookkeeping.pop_arguments(state, host, ours)
    assert asked == arguments.pop_global_arguments(state, host, theirs)
    assert ours == theirs
