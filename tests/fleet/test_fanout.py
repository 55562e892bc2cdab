"""Who takes a model from the Hub, and who takes it from whom."""

from __future__ import annotations

from fleet.fanout import Member, chain, links, source

FABRIC = "192.168.{}.{}/24"


def host(number: int, *, replica: int | None = None, whole: bool = False) -> Member:
    cabled = (FABRIC.format(replica, number),) if replica else ()
    return Member(f"spark-{number:02d}", f"192.0.2.{number}", cabled, whole)


def names(members: list[Member]) -> str:
    return " ".join(member.name[-1] for member in members)


def test_who_misses_least_takes_it_from_the_hub_and_of_equals_the_first() -> None:
    assert source({"a": 9, "b": 3, "c": 3}) == "b"


def test_hosts_that_have_it_come_first_and_replicas_stay_together() -> None:
    members = [host(1, replica=1), host(2, replica=2), host(3, replica=1, whole=True), host(4)]
    assert names(chain(members)) == "3 1 2 4"
    assert names(chain([host(1), host(2), host(3, whole=True)])) == "3 1 2"


def test_each_asks_the_one_before_it_and_those_behind_only_for_whole_files() -> None:
    members = [host(1, whole=True), host(2), host(3)]
    middle = links(members[1], members)
    assert middle.sources == (("192.0.2.1", True), ("192.0.2.3", True))
    assert links(members[2], members).sources == (("192.0.2.2", False), ("192.0.2.1", True))
    assert links(members[0], members).sources == ()


def test_the_fabric_is_used_between_hosts_that_share_it_and_only_there() -> None:
    members = [host(1, replica=7, whole=True), host(2, replica=7), host(3)]
    assert links(members[1], members).sources[0] == ("192.168.7.1", True)
    assert links(members[2], members).sources[0] == ("192.0.2.2", False)
    first = links(members[0], members)
    assert first.listen == ("192.0.2.1", "192.168.7.1")
    assert first.allowed == ("192.0.2.3", "192.168.7.2")


def test_the_origin_is_first_asks_nobody_and_is_asked_for_what_still_comes() -> None:
    members = [host(1), Member("spark-02", "192.0.2.2", origin=True), host(3)]
    assert names(chain(members)) == "2 1 3"
    assert links(members[1], members).sources == ()
    assert links(members[0], members).sources == (("192.0.2.2", False), ("192.0.2.3", True))
