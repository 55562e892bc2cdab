"""The transaction in folders of its own, with a systemctl that does as it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import activate
import bootguard
import pytest
from transaction import Transaction

from tests.files.activated_host import A, ActivatedHost, activated_host, begun


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatedHost:
    return activated_host(tmp_path, monkeypatch)


def test_failed_starts_are_forgotten_once_and_not_by_a_boot_that_goes_on(
    host: ActivatedHost,
) -> None:
    """Else a first release that freezes the host freezes it at every boot."""
    for _ in range(bootguard.LIMIT):
        bootguard.begin(A)
    host.unit(start_ends=1)
    done = Transaction(replace(begun(A, None), phase="starting")).run("start")
    assert (done.outcome, bootguard.failures(A)[0]) == ("reverted", bootguard.LIMIT)
    activate.launch(begun(A, None))
    assert bootguard.failures(A) == (0, "")
