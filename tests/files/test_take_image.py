"""An image's layers from registry to host to host, over real sockets; no Docker. The endpoint that
Docker pulls from is a registry itself, so it stands for the image's own."""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import layout
import pytest
import take_image
from blob_filler import Filler
from errors import HostError
from pull_endpoint import REPOSITORY, Endpoint
from registry_client import INDEXES, MANIFESTS, Manifest, Registry, parts
from relay_client import Source
from relay_server import Server
from shelf import Item, Shelf

SELF, SECRET = "127.0.0.1", "s"
BLOBS = {hashlib.sha256(text).hexdigest(): text for text in (b"{}", os.urandom(2_000_000), b"7")}
CONFIG, LARGE, SMALL = BLOBS


def manifest(kind: str, body: object) -> Manifest:
    text = json.dumps(body).encode()
    return Manifest(f"sha256:{hashlib.sha256(text).hexdigest()}", kind, text)


def entry(sha256: str) -> dict[str, object]:
    return {"digest": f"sha256:{sha256}", "size": len(BLOBS[sha256])}


IMAGE = manifest(
    MANIFESTS[0], {"config": entry(CONFIG), "layers": [entry(LARGE), entry(SMALL), entry(SMALL)]}
)
FOREIGN = manifest(MANIFESTS[0], {"config": entry(CONFIG), "layers": []})
INDEX = manifest(
    INDEXES[0],
    {
        "manifests": [
            {"digest": FOREIGN.digest, "platform": {"os": "linux", "architecture": "riscv64"}},
            {"digest": IMAGE.digest, "platform": {"os": "linux", "architecture": "arm64"}},
        ]
    },
)


def shelf(place: Path, *, full: bool = False) -> Shelf:
    place.mkdir()
    items = [Item(s, len(text), place / s, place / f"{s}.part") for s, text in BLOBS.items()]
    for item in items if full else ():
        item.path.write_bytes(BLOBS[item.sha256])
        item.ready = item.size
    return Shelf(items)


@contextmanager
def registry(place: Path) -> Iterator[Registry]:
    """One that has the image."""
    endpoint = Endpoint([INDEX, IMAGE, FOREIGN], shelf(place, full=True))
    yield Registry(f"http://{SELF}:{endpoint.server_address[1]}", REPOSITORY)
    endpoint.close()


@contextmanager
def host(place: Path, origin: Registry, *sources: Source) -> Iterator[tuple[Filler, str, Source]]:
    """A host of the chain: what fills it, where its Docker pulls from, where the others ask it."""
    own = shelf(place)
    filler = Filler(own, origin, SECRET, list(sources))
    endpoint, server = Endpoint([INDEX, IMAGE], own), Server((SELF, 0), own, SECRET, [SELF])
    base = f"http://{SELF}:{endpoint.server_address[1]}/v2/{REPOSITORY}"
    yield filler, base, Source(SELF, server.server_address[1], False)
    endpoint.close()
    server.shutdown()
    server.server_close()


def read(base: str, what: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(f"{base}/{what}", headers=headers)) as said:
        found: bytes = said.read()
    return found


def in_place(path: Path) -> None:
    """The last byte is out a moment before the file has its name."""
    end = time.monotonic() + 5
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def test_the_blobs_of_the_platform_are_found_behind_an_index(tmp_path: Path) -> None:
    with registry(tmp_path / "r") as origin:
        manifests, blobs = parts(origin, INDEX.digest, "arm64")
        assert manifests == [INDEX, IMAGE]
        assert blobs == {sha256: len(text) for sha256, text in BLOBS.items()}
        assert parts(origin, IMAGE.digest, "amd64")[0] == [IMAGE]
        with pytest.raises(HostError, match="no image for linux/amd64"):
            parts(origin, INDEX.digest, "amd64")


OUTSIDE = "sha256:../../../../etc/shadow"
PLATFORM = {"os": "linux", "architecture": "arm64"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"layers": [{"digest": OUTSIDE, "size": 1}]}, f"found the digest '{OUTSIDE}', allowed"),
        ({"layers": [{"digest": SMALL, "size": 1}]}, f"found the digest '{SMALL}', allowed"),
        ({"config": "x"}, "found the digest None, allowed"),
        ({"layers": [{**entry(SMALL), "size": True}]}, "found the size True of sha256:"),
        ({"layers": [{**entry(SMALL), "size": -1}]}, "found the size -1 of sha256:"),
        ({"layers": [{**entry(SMALL), "size": "1"}]}, "found the size '1' of sha256:"),
        ({"layers": "x"}, "layers: found no list of objects"),
        ({"manifests": [{"digest": OUTSIDE, "platform": PLATFORM}]}, "found the digest 'sha256:.."),
        ([], "found no JSON object"),
    ],
)
def test_what_a_manifest_names_is_a_digest_and_a_size(
    tmp_path: Path, body: object, told: str
) -> None:
    odd = manifest(MANIFESTS[0], body)
    endpoint = Endpoint([odd], shelf(tmp_path / "r"))
    origin = Registry(f"http://{SELF}:{endpoint.server_address[1]}", REPOSITORY)
    with pytest.raises(HostError) as error:
        parts(origin, odd.digest, "arm64")
    endpoint.close()
    assert told in str(error.value) and str(error.value).endswith("; push the image anew")


def test_what_docker_asks_for_comes_over_two_hosts_and_nothing_else(tmp_path: Path) -> None:
    with (
        registry(tmp_path / "r") as origin,
        host(tmp_path / "a", origin) as (_, _, first),
        host(tmp_path / "b", origin, first) as (filler, base, _),
    ):
        assert read(base, f"manifests/{IMAGE.digest}") == IMAGE.text
        assert read(base, f"blobs/sha256:{LARGE}") == BLOBS[LARGE]
        assert read(base, f"blobs/sha256:{LARGE}", Range="bytes=1999990-") == BLOBS[LARGE][-10:]
        assert not filler.problem
        assert not (tmp_path / "a" / SMALL).exists() and not (tmp_path / "b" / SMALL).exists()


def test_without_the_host_before_it_the_registry_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blob_filler.PATIENCE_S", -20.0)  # of a host whose neighbour is gone
    with registry(tmp_path / "r") as origin:
        with host(tmp_path / "a", origin) as (_, _, first):
            pass
        with host(tmp_path / "b", origin, first) as (filler, base, _):
            assert read(base, f"blobs/sha256:{LARGE}") == BLOBS[LARGE]
            assert not filler.problem


def test_a_bad_blob_is_thrown_away_and_fetched_from_the_registry(tmp_path: Path) -> None:
    with (
        registry(tmp_path / "r") as origin,
        host(tmp_path / "a", origin) as (_, base, first),
        host(tmp_path / "b", origin, first) as (filler, other, _),
    ):
        read(base, f"blobs/sha256:{LARGE}")
        in_place(tmp_path / "a" / LARGE)
        (tmp_path / "a" / LARGE).write_bytes(bytes(len(BLOBS[LARGE])))
        assert read(other, f"blobs/sha256:{LARGE}") == bytes(len(BLOBS[LARGE]))
        in_place(tmp_path / "b" / LARGE)
        assert filler.drop_bad() == [LARGE]
        assert read(other, f"blobs/sha256:{LARGE}") == BLOBS[LARGE]
        in_place(tmp_path / "b" / LARGE)
        assert filler.drop_bad() == []


def test_a_registry_that_does_not_have_it_is_told(tmp_path: Path) -> None:
    with registry(tmp_path / "r") as origin, pytest.raises(HostError, match="404"):
        origin.manifest(f"sha256:{'0' * 64}")


def test_what_a_power_cut_left_of_another_image_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "IMAGES", tmp_path)
    own, other = "a" * 64, "b" * 64
    for name in (own, other):
        (tmp_path / name).mkdir()
        (tmp_path / name / LARGE).write_bytes(b"")
        for end in (".json", ".links.json"):
            (tmp_path / f"{name}{end}").write_text("{}")
    take_image.drop_others(f"sha256:{own}")
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {own}
    assert (tmp_path / own / LARGE).exists() and len(list(tmp_path.iterdir())) == 3
