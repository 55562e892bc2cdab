"""Cheaper bookkeeping gives the answers of pyinfra's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import arguments
from pyinfra.api.state import State
from pyinfra.api.util import get_operation_order_from_stack

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
