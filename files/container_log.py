"""What a container writes, as Docker's daemon hands it over: Docker's own words are kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

import docker_api
from errors import HostError

OF_DOCKER = 3  # the stream of what the daemon has to say; 1 and 2 are the container's
HEAD = 8  # bytes before each part: the stream, three zeros, the length


def follow(name: str, since: str) -> Iterator[str]:
    """Each line after ``since`` (epoch seconds, or "0") until the container or the daemon ends.

    Raises HostError where Docker cannot read the log.
    """
    path = f"/containers/{name}/logs?follow=1&stdout=1&stderr=1&since={since}"
    rest: defaultdict[int, bytes] = defaultdict(bytes)
    try:
        with docker_api.answer(path, None) as body:
            for stream, text in _parts(body):
                *lines, rest[stream] = (rest[stream] + text).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
    except OSError as error:
        raise HostError(f"the log of container {name} is not to be had: {error}") from None
    yield from (line.decode("utf-8", "replace") for line in rest.values())


def _parts(body: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Stream and bytes; raises OSError with what Docker says of itself."""
    while len(head := body.read(HEAD)) == HEAD:
        text = body.read(int.from_bytes(head[4:], "big"))
        if head[0] == OF_DOCKER:
            raise OSError(" ".join(text.decode("utf-8", "replace").split()))
        yield head[0], text
