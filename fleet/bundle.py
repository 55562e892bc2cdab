"""An air-gap bundle: a folder with all that a deploy fetches, and how hosts ask for it.

    bundle.json                      every file with size and sha256
    packages/HOST/PATH               apt repositories' own signed indices and packages, as at HOST
    image/                           OCI layout: blobs by digest
    models/ORG--NAME/COMMIT/PATH     weights
    wheels/  locks/                  Python packages of the control side; model locks

Hosts reach it as a web server on their own loopback, at ``bundle_port``. Nothing in it is trusted
for lying there: packages are checked by the vendors' signatures, images by digest, weights by lock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, ValidationError

from fleet import bundle_sources
from fleet.models import Commit, ModelLock, Repo, Sha256, file_path
from fleet.problems import SettingsError, explain
from fleet.strict import Strict
from fleet.words import Line

MANIFEST = "bundle.json"
ADDRESS = "127.0.0.1"  # Docker and apt speak HTTP to loopback without being told
BLOBS = "image/blobs/sha256"
_LARGEST = 64 << 20  # bytes of bundle.json; a file takes 0.2 KiB
_MANIFEST = 4 << 20  # bytes of an image's manifest: registries take no larger one
_IMAGE = re.compile(r"(?:(?P<registry>[^/]*[.:][^/]*|localhost)/)?(?P<path>[^@]+)@(?P<digest>.+)")


Stanza = Annotated[str, AfterValidator(bundle_sources.stanza)]


class BundleSettings(Strict):
    """Hosts without a way to the internet."""

    bundle: Line | None = Field(
        default=None,
        description="Folder on the control side, made by 'fleet bundle': packages, image and "
        "weights come from it through the SSH connections, nothing from the internet",
    )
    bundle_port: int = Field(
        default=8474,
        ge=1024,
        le=65535,
        description="TCP port on each host's own loopback at which it finds the bundle; part of "
        "the image's name there",
    )


class Entry(Strict):
    """A file of the bundle."""

    size: int = Field(ge=0, lt=2**63, description="Bytes")
    sha256: Sha256


class Bundle(Strict):
    """``bundle.json``. ``sources`` are deb822 stanzas of the hosts' own apt repositories."""

    format: Literal[1] = 1
    arch: Literal["arm64", "amd64"]
    images: Annotated[tuple[str, ...], Field(strict=False)] = ()
    models: dict[Repo, Commit] = Field(default={})
    sources: Annotated[tuple[Stanza, ...], Field(strict=False)] = ()
    files: dict[Annotated[str, AfterValidator(file_path)], Entry] = Field(default={})


def text(bundle: Bundle) -> str:
    """The same content always gives the same bytes."""
    return json.dumps(bundle.model_dump(), indent=1, sort_keys=True) + "\n"


def load(folder: Path) -> Bundle:
    """The bundle in ``folder``; SettingsError is one line a mistake."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST:
            raise SettingsError(f"{path}: found more than {_LARGEST >> 20} MiB")
        return Bundle.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"no bundle: {error.strerror}; make one with: fleet bundle"
        raise SettingsError(f"{path}: {what}") from None
    except ValidationError as error:
        raise SettingsError(*explain(error, Bundle, lambda _: str(path))[:5]) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` of the bundle; SettingsError where it is, or lies behind, a link that
    leads out of it, or is no file."""
    path = folder / name
    try:
        found = path.resolve(strict=True)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; run fleet bundle again") from None
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise SettingsError(f"{path}: found a link or folder, allowed: a file inside the bundle")
    return found


def address(settings: BundleSettings) -> str:
    """Where a host finds the bundle."""
    return f"http://{ADDRESS}:{settings.bundle_port}"


def mirrored(settings: BundleSettings, url: str) -> str:
    """A repository's or key's URL, as the bundle has it."""
    return f"{address(settings)}/packages/{url.partition('://')[2]}"


def apt_source(settings: BundleSettings, text: str) -> str:
    """An apt source that reads the bundle instead."""
    return bundle_sources.mirrored(f"{address(settings)}/packages", text)


def hub(settings: BundleSettings) -> str:
    """The Hub as the bundle has it."""
    return f"{address(settings)}/hub"


def image(name: str, port: int) -> str:
    """NAME@DIGEST as a host pulls it from the bundle: the same digest, the name without its
    registry. What is no such name stays as it is."""
    found = _IMAGE.fullmatch(name)
    return f"{ADDRESS}:{port}/{found['path']}@{found['digest']}" if found else name


def localized(data: Mapping[str, object]) -> dict[str, object]:
    """Host data with the image's name as it is in the bundle, if there is one."""
    name, port = data.get("vllm_image"), data.get("bundle_port", 8474)
    if not data.get("bundle") or not isinstance(name, str) or not isinstance(port, int):
        return dict(data)
    return {**data, "vllm_image": image(name, port)}


def lacking(folder: Path, bundle: Bundle, locks: tuple[ModelLock, ...], name: str) -> list[str]:
    """What a host is to have and the bundle lacks: the image ``name``, files of the models."""
    problems = []
    digest = name.rpartition(":")[2]
    if f"{BLOBS}/{digest}" not in bundle.files:
        problems.append(f"image sha256:{digest[:12]}")
    for lock in locks:
        for file in lock.files:
            found = bundle.files.get(f"{model_folder(lock)}/{file.path}")
            if found is None or (found.size, found.sha256) != (file.size, file.sha256):
                problems.append(f"{lock.repo}: {file.path} as locked")
                break
    return [f"{folder}: lacks {what}; add it with: fleet bundle {folder}" for what in problems]


def model_folder(lock: ModelLock) -> str:
    return f"models/{lock.repo.replace('/', '--')}/{lock.revision}"


def answer(folder: Path, bundle: Bundle, url: str) -> tuple[Path, dict[str, str]] | None:
    """The file behind a request's path, and the headers that its client reads; None: no such."""
    name, headers, manifest = _named(url)
    entry = bundle.files.get(name)
    if entry is None:
        return None
    path = inside(folder, name)
    if manifest:
        kind = _kind(path)
        if kind is None:
            return None
        headers["Content-Type"] = kind
    return path, {"ETag": f'"{entry.sha256}"', **headers}


def _named(url: str) -> tuple[str, dict[str, str], bool]:
    """What the bundle calls the file that a request asks for, "" for what cannot be in it; the
    headers that follow from the request; whether it is to be an image's manifest."""
    try:
        parts = unquote(urlsplit(url).path).lstrip("/").split("/")
    except ValueError:
        return "", {}, False
    if parts[0] == "v2" and len(parts) >= 4 and parts[-2] in ("manifests", "blobs"):
        algorithm, _, digest = parts[-1].partition(":")
        found = f"{BLOBS}/{digest}" if algorithm == "sha256" else ""
        return found, {"Docker-Content-Digest": parts[-1]}, parts[-2] == "manifests"
    if parts[0] == "hub" and len(parts) >= 6 and parts[3] == "resolve":
        found = "/".join(("models", "--".join(parts[1:3]), *parts[4:]))
        return found, {"X-Repo-Commit": parts[4]}, False
    return ("/".join(parts) if parts[0] == "packages" else ""), {}, False


def _kind(path: Path) -> str | None:
    """The media type of a manifest; None for another blob, which is not read where it is large."""
    try:
        return media_type(path.read_bytes()) if path.stat().st_size <= _MANIFEST else None
    except (ValueError, RecursionError):
        return None


def media_type(body: bytes) -> str:
    """What a manifest of an image says it is; OCI lets it be silent. ValueError: it is no JSON."""
    found = json.loads(body)
    kind = found.get("mediaType") if isinstance(found, dict) else None
    if isinstance(kind, str) and kind.isprintable():
        return kind
    index = isinstance(found, dict) and "manifests" in found
    return f"application/vnd.oci.image.{'index' if index else 'manifest'}.v1+json"
