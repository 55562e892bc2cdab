"""Who changes together, and when."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fleet.waves import RolloutSettings, plan

HOSTS = [f"h{n}" for n in range(1, 9)]


def test_the_first_host_is_the_canary_unless_one_is_named() -> None:
    assert plan(HOSTS, (), 3) == [["h1"], ["h2", "h3", "h4"], ["h5", "h6", "h7"], ["h8"]]


def test_a_named_canary_goes_first_and_only_once() -> None:
    assert plan(HOSTS, {"h5"}, 4) == [["h5"], ["h1", "h2", "h3", "h4"], ["h6", "h7", "h8"]]


def test_a_canary_that_does_not_change_gives_way_to_the_first_host_that_does() -> None:
    assert plan(["h2", "h3"], {"h1"}, 4) == [["h2"], ["h3"]]


def test_a_percentage_is_of_all_hosts_and_never_less_than_one() -> None:
    assert [len(wave) for wave in plan(HOSTS, (), "25%")] == [1, 2, 2, 2, 1]
    assert [len(wave) for wave in plan(HOSTS[:2], (), "1%")] == [1, 1]


def test_no_host_no_wave() -> None:
    assert plan([], {"h1"}, 1) == []


@pytest.mark.parametrize("bad", [0, -1, "0%", "101%", "25", "half", True, 2.5])
def test_a_wave_size_that_means_nothing_is_refused(bad: object) -> None:
    with pytest.raises(ValidationError):
        RolloutSettings.model_validate({"wave_size": bad})
