"""The kernel's tables of TCP sockets."""

from collections.abc import Iterator
from pathlib import Path

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")  # without IPv6 there is no second one
LISTENS = "0A"  # TCP_LISTEN


def rows() -> Iterator[tuple[str, list[str]]]:
    """Table and words of each socket; it costs some ms, the kernel walks all its buckets."""
    for table in filter(lambda name: Path(name).exists(), TABLES):
        for line in Path(table).read_text().splitlines()[1:]:
            yield table, line.split()


def listening(port: int) -> Iterator[tuple[str, list[str]]]:
    """The rows of those who listen on ``port``."""
    for table, words in rows():
        if words[3] == LISTENS and int(words[1].partition(":")[2], 16) == port:
            yield table, words
