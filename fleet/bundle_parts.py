"""The parts of a bundle that are pinned by digest: the image, the models, the control side."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from fleet import bundle, lock, models, registry
from fleet.bundle import BLOBS, Bundle, Entry
from fleet.bundle_fetch import Wanted, entry_of, fetch, keep
from fleet.hub import Hub
from fleet.models import ModelLock
from fleet.problems import SettingsError, shown
from fleet.registry import Reference, Registry
from fleet.untrusted import mapping

_HERE = Path(__file__).parent.parent
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def image(asked: Registry, folder: Path, known: Bundle, name: str) -> dict[str, Entry]:
    """The image NAME@DIGEST for the bundle's architecture, as OCI layout."""
    wanted = registry.pinned(name)
    top = _manifest(asked, wanted, wanted.tag)
    bodies, manifest = [top], json.loads(top)
    if "manifests" in manifest:
        inner = _manifest(asked, wanted, _of_platform(manifest, known.arch, name))
        bodies, manifest = [top, inner], json.loads(inner)
    manifest = mapping(manifest, name)
    parts = [manifest.get("config"), *(manifest.get("layers") or ())]
    blobs = [_blob(asked, wanted, mapping(part, name)) for part in parts]
    found = fetch(asked.client, folder, known, f"image {wanted.name}", blobs)
    for body in bodies:
        found |= keep(folder, f"{BLOBS}/{registry.digest_of(body)[7:]}", body)
    return found | keep(folder, "image/oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n')


def _manifest(asked: Registry, wanted: Reference, digest: str) -> bytes:
    body = asked.manifest(wanted, digest).body
    if registry.digest_of(body) != digest:
        raise SettingsError(f"{wanted.name}: the registry sent another manifest than {digest}")
    return body


def _of_platform(index: Mapping[str, object], arch: str, name: str) -> str:
    entries = [mapping(entry, name) for entry in index["manifests"]]  # type: ignore[attr-defined]
    for entry in entries:
        platform = entry.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
            return _digest(entry.get("digest"), name)
    raise SettingsError(f"{name}: has no image for linux/{arch}")


def _digest(value: object, name: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise SettingsError(f"{name}: digest: found {shown(value)}, allowed: sha256:…")
    return value


def _blob(asked: Registry, wanted: Reference, part: Mapping[str, object]) -> Wanted:
    digest, size = _digest(part.get("digest"), wanted.name), part.get("size")
    if type(size) is not int or size < 0:
        raise SettingsError(f"{wanted.name}: size: found {shown(size)}, allowed: bytes")
    url = wanted.url("blobs", digest)

    def renew() -> None:
        asked.token = None
        asked.manifest(wanted, wanted.tag)

    name = f"{BLOBS}/{digest[7:]}"
    return Wanted(name, url, size, digest[7:], headers=asked.headers, renew=renew)


def index(folder: Path, known: Bundle) -> dict[str, Entry]:
    """The OCI layout's index of all images of the bundle, each under its full name."""
    manifests = []
    for name in known.images:
        digest = _digest(registry.pinned(name).tag, name)
        path = folder / BLOBS / digest[7:]
        body = path.read_bytes()
        manifests.append(
            {
                "mediaType": bundle.media_type(body),
                "digest": digest,
                "size": len(body),
                "annotations": {"io.containerd.image.name": name},
            }
        )
    listed = json.dumps({"schemaVersion": 2, "manifests": manifests}, indent=1, sort_keys=True)
    return keep(folder, "image/index.json", f"{listed}\n".encode())


def model(asked: Hub, folder: Path, known: Bundle, wanted: ModelLock) -> dict[str, Entry]:
    """Every file of the lock, and the lock."""
    place = f"{asked.endpoint}/{wanted.repo}/resolve/{wanted.revision}"
    files = [
        Wanted(
            f"{bundle.model_folder(wanted)}/{file.path}",
            f"{place}/{quote(file.path)}",
            file.size,
            file.sha256,
            headers=asked.headers,
        )
        for file in wanted.files
    ]
    found = fetch(asked.client, folder, known, wanted.repo, files)
    name = f"locks/{models.file_name(wanted.repo)}"
    return found | keep(folder, name, lock.text(wanted).encode())


def wheels(folder: Path) -> dict[str, Entry]:
    """Python packages of the control side, by requirements.lock; pip itself compares the hashes."""
    requirements = _HERE / "requirements.lock"
    target = folder / "wheels"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        words = ("download", "--quiet", "--require-hashes", "--no-deps", "--requirement")
        argv = [sys.executable, "-m", "pip", *words, str(requirements), "--dest", fresh]
        argv += ["--find-links", str(target)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise SettingsError(f"pip download: {said[-1][:300]}")
        for path in Path(fresh).iterdir():
            shutil.move(path, target / path.name)
    found = {f"wheels/{path.name}": entry_of(path) for path in sorted(target.iterdir())}
    return found | keep(folder, "locks/requirements.lock", requirements.read_bytes())
