"""A start waits for memory that comes back late, and says what holds it when it does not."""

from __future__ import annotations

import threading
import time

import memory
import pytest
from errors import HostError


def test_what_is_there_is_not_waited_for() -> None:
    told: list[str] = []
    memory.wait(1024, bound_s=0, stop=threading.Event(), tell=told.append)
    assert told == []


def test_memory_that_does_not_come_is_told_with_what_holds_it() -> None:
    told: list[str] = []
    much = memory.meminfo("MemTotal") + 2**20
    with pytest.raises(HostError) as caught:
        memory.wait(much, bound_s=0.5, stop=threading.Event(), tell=told.append)
    assert str(caught.value).startswith("MemAvailable is ")
    assert "(pid " in str(caught.value)
    assert told and all(line.startswith("waiting for memory: ") for line in told)


def test_a_stop_ends_the_wait() -> None:
    stop, began = threading.Event(), time.monotonic()
    threading.Timer(0.2, stop.set).start()
    much = memory.meminfo("MemTotal") + 2**20
    memory.wait(much, bound_s=60, stop=stop, tell=lambda _: None)
    assert time.monotonic() - began < 30
