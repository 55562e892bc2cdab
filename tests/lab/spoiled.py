"""An image in the lab's registry that is not what its digest says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lab.testing import Lab


def spoiled_image(lab: Lab) -> str:
    """The stand-in's image under another digest, its configuration spoiled in the registry."""
    store = lab.state.run / "registry/docker/registry/v2"
    name, _, digest = lab.state.images["vllm-standin"].partition("@sha256:")
    manifest = json.loads(_blob(store, digest).read_text())
    config = _blob(store, manifest["config"]["digest"].removeprefix("sha256:")).read_bytes()
    other = config.replace(b"{", b'{"author":"ann",', 1)
    manifest["config"] |= {"digest": _digest(other), "size": len(other)}
    text = json.dumps(manifest).encode()
    repository = store / "repositories" / name.rpartition("/")[2]
    _link(repository / "_layers", _digest(other))
    _link(repository / "_manifests/revisions", _digest(text))
    _keep(store, _digest(other), other.replace(b"ann", b"bob", 1))
    _keep(store, _digest(text), text)
    return f"{name}@{_digest(text)}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(store: Path, digest: str) -> Path:
    return store / "blobs/sha256" / digest[:2] / digest / "data"


def _keep(store: Path, digest: str, data: bytes) -> None:
    path = _blob(store, digest.removeprefix("sha256:"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _link(folder: Path, digest: str) -> None:
    path = folder / digest.replace(":", "/") / "link"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(digest)
