"""Container images without a container engine: layers from directories, config, manifest, push."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from lab.command import LabError

EPOCH = 946684800  # every file in a layer is this old, so that the same content has one digest
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CHUNK = 1 << 20
TIMEOUT_S = 120


@dataclass(frozen=True)
class Layer:
    """A packed directory: the blob, its digest and size, and the digest of the bare tar."""

    blob: Path
    digest: str
    size: int
    diff_id: str


@dataclass(frozen=True)
class Image:
    """Layers, lowest first, and what `docker run` needs to know."""

    layers: tuple[Layer, ...]
    arch: str
    run: Mapping[str, object]  # Entrypoint, Env, WorkingDir … of the OCI image config

    @property
    def config(self) -> bytes:
        """The image configuration."""
        return compact(
            {
                "architecture": self.arch,
                "os": "linux",
                "created": "2000-01-01T00:00:00Z",
                "config": self.run,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            }
        )

    @property
    def manifest(self) -> bytes:
        """What the digest names."""
        layers = [described(LAYER, layer.digest, layer.size) for layer in self.layers]
        return compact(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(CONFIG, digest_of(self.config), len(self.config)),
                "layers": layers,
            }
        )

    @property
    def digest(self) -> str:
        """sha256:…"""
        return digest_of(self.manifest)


def compact(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def digest_of(content: bytes) -> str:
    """sha256:…"""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def described(kind: str, digest: str, size: int) -> dict[str, object]:
    """A content descriptor."""
    return {"mediaType": kind, "digest": digest, "size": size}


class Hashed:
    """A writable that hashes what passes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def pack(tree: Path, folder: Path, keep: Callable[[str], bool] = lambda name: True) -> Layer:
    """Write the layer of ``tree`` into ``folder`` (layer.tar.zst and layer.json).

    Root owns everything in it; ``keep`` chooses by path below ``tree``. Needs the program zstd.
    """
    blob = folder / "layer.tar.zst"
    argv = ["zstd", "--quiet", "-3", "-T2", "--force", "-o", str(blob)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as packer:
        assert packer.stdin is not None
        out = Hashed(packer.stdin)
        with tarfile.open(mode="w|", fileobj=out, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path in sorted(tree.rglob("*")):
                if keep(str(path.relative_to(tree))):
                    add(tar, path, str(path.relative_to(tree)))
        packer.stdin.close()
        if packer.wait():
            raise LabError(f"zstd: exit status {packer.returncode} while packing {tree}")
    facts = {
        "digest": "sha256:" + file_sha256(blob),
        "size": blob.stat().st_size,
        "diff_id": "sha256:" + out.sha256.hexdigest(),
    }
    (folder / "layer.json").write_text(json.dumps(facts) + "\n")
    return load(folder)


def add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """One entry, without what differs from machine to machine."""
    tar.inodes.clear()  # type: ignore[attr-defined]  # hard links become files of their own
    info = tar.gettarinfo(path, name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = EPOCH
    if info.isreg():
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)


def load(folder: Path) -> Layer:
    """The layer that ``pack`` wrote into ``folder``."""
    return Layer(blob=folder / "layer.tar.zst", **json.loads((folder / "layer.json").read_text()))


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Addressed(HTTPSConnection):
    """HTTPS to an address, under a name that need not resolve."""

    def __init__(self, name: str, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(name, address[1], timeout=TIMEOUT_S, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection(self._address, TIMEOUT_S)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Registry:
    """A registry called ``name`` at ``address``; ``ca`` is the certificate it is trusted by."""

    name: str
    address: tuple[str, int]
    ca: Path

    @contextmanager
    def _connection(self) -> Iterator[Addressed]:
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = Addressed(self.name, self.address, context)
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        allowed: tuple[int, ...] = (200, 201, 202),
    ) -> HTTPResponse:
        """One request; LabError if the status is not among ``allowed``."""
        with self._connection() as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read()
        if answer.status not in allowed:
            raise LabError(f"registry: {method} {path}: status {answer.status}: {text[:200]!r}")
        return answer

    def push(self, image: Image, repository: str, tag: str) -> str:
        """Upload what is missing; returns the image's digest."""
        for layer in image.layers:
            with layer.blob.open("rb") as file:
                self._upload(repository, layer.digest, layer.size, file)
        config = image.config
        self._upload(repository, digest_of(config), len(config), config)
        path = f"/v2/{repository}/manifests/{tag}"
        answer = self.ask("PUT", path, image.manifest, {"Content-Type": MANIFEST})
        told = answer.getheader("Docker-Content-Digest")
        if told != image.digest:
            raise LabError(f"registry: {path}: digest {told}, expected {image.digest}")
        return image.digest

    def _upload(self, repository: str, digest: str, size: int, body: bytes | IO[bytes]) -> None:
        blob = f"/v2/{repository}/blobs/{digest}"
        if self.ask("HEAD", blob, allowed=(200, 404)).status == 200:
            return
        start = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        where = urlsplit(start.getheader("Location") or "")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        query = f"{where.query}&digest={digest}".lstrip("&")
        self.ask("PUT", f"{where.path}?{query}", body, headers)


def manifest_of(registry: Registry, repository: str, reference: str) -> dict[str, Any]:
    """The manifest a registry holds under a tag or digest."""
    path = f"/v2/{repository}/manifests/{reference}"
    with registry._connection() as connection:
        connection.request("GET", path, headers={"Accept": MANIFEST})
        found = json.loads(connection.getresponse().read())
    assert isinstance(found, dict)
    return found
