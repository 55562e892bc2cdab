"""Reads an image from its registry by digest, anonymously. Logins are left to Docker."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from errors import HostError

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MANIFEST_BYTES = 4 << 20  # registries take manifests of at most this size
ANSWER_S = 30.0
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')


@dataclass(frozen=True)
class Manifest:
    """An index or an image's manifest, byte for byte as its digest says."""

    digest: str
    kind: str
    text: bytes

    @property
    def body(self) -> dict[str, Any]:
        """HostError where it is no JSON object."""
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise HostError(f"{self.digest}: no manifest ({error}); push the image anew") from None
        if not isinstance(found, dict):
            raise HostError(f"{self.digest}: found no JSON object; push the image anew")
        return found

    def listed(self, key: str) -> list[dict[str, Any]]:
        """The descriptors in a list of it; none where there is no such list."""
        found = self.body.get(key) or []
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise HostError(f"{self.digest}: {key}: found no list of objects; push the image anew")
        return found


class Registry:
    """One repository of a registry. ``url``: scheme and host, such as https://nvcr.io. Everything
    raises HostError where the registry does not answer, or has no such thing."""

    def __init__(self, url: str, repository: str) -> None:
        self._url, self._repository = url, repository
        self._token = ""

    def manifest(self, digest: str) -> Manifest:
        """The index or manifest that ``digest`` names, compared with it."""
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        with self._get(f"manifests/{digest}", accept) as answer:
            text = answer.read(MANIFEST_BYTES)
            kind = answer.headers.get("Content-Type", "")
        if f"sha256:{hashlib.sha256(text).hexdigest()}" != digest:
            raise HostError(f"{self._url}: sent another manifest than {digest}")
        return Manifest(digest, kind, text)

    def blob(self, sha256: str, offset: int) -> HTTPResponse:
        """A blob's bytes from ``offset`` on; all of them when the status is 200, not 206."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        return self._get(f"blobs/sha256:{sha256}", wanted)

    def _get(self, what: str, headers: dict[str, str]) -> HTTPResponse:
        address = f"{self._url}/v2/{self._repository}/{what}"
        try:
            try:
                return self._open(address, headers)
            except urllib.error.HTTPError as error:
                if error.code != 401:
                    raise
                self._token = self._fetch_token(error.headers.get("WWW-Authenticate", ""))
            return self._open(address, headers)
        except (OSError, ValueError) as error:
            raise HostError(f"{address}: {error}") from None

    def _open(self, address: str, headers: dict[str, str]) -> HTTPResponse:
        request = urllib.request.Request(address, headers=headers)
        if self._token:  # not for the store that the registry redirects to
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=ANSWER_S)
        return answer

    def _fetch_token(self, challenge: str) -> str:
        asked = dict(CHALLENGE.findall(challenge))
        realm = asked.pop("realm", "")
        scheme = self._url.partition("://")[
            0
        ]  # no token in the clear but for a registry in the clear
        if not challenge.startswith("Bearer ") or not realm.startswith(
            ("https://", f"{scheme}://")
        ):
            raise HostError(f"{self._url}: wants a login")
        asked.setdefault("scope", f"repository:{self._repository}:pull")
        with urllib.request.urlopen(
            f"{realm}?{urllib.parse.urlencode(asked)}", timeout=ANSWER_S
        ) as answer:
            found = json.loads(answer.read(MANIFEST_BYTES))
        return str(found.get("token") or found["access_token"])


def parts(registry: Registry, digest: str, arch: str) -> tuple[list[Manifest], dict[str, int]]:
    """The manifests behind ``digest`` for linux/``arch``, and every blob they name: sha256 → bytes.

    A digest names one manifest, or an index of one for each platform.
    """
    first = registry.manifest(digest)
    manifests = [first]
    for entry in first.listed("manifests"):
        platform = entry.get("platform")
        if isinstance(platform, dict) and _fits(platform, arch):
            manifests.append(registry.manifest(f"sha256:{_sha256(entry)}"))
    blobs = {
        _sha256(blob): _size(blob)
        for manifest in manifests
        for blob in (manifest.body.get("config"), *manifest.listed("layers"))
        if blob
    }
    if not blobs:
        raise HostError(f"{digest}: found no image for linux/{arch} behind it")
    return manifests, blobs


def _fits(platform: dict[str, Any], arch: str) -> bool:
    return (platform.get("os"), platform.get("architecture")) == ("linux", arch)


def _sha256(descriptor: object) -> str:
    """What a descriptor names, in hex; it becomes the name of a file. HostError."""
    found = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(found, str) or not DIGEST.fullmatch(found):
        told = f"found the digest {found!r:.100}, allowed: sha256: and 64 hex digits"
        raise HostError(f"manifest: {told}; push the image anew")
    return found.removeprefix("sha256:")


def _size(descriptor: dict[str, Any]) -> int:
    """Bytes of what a descriptor names; HostError."""
    found = descriptor.get("size")
    if type(found) is not int or found < 0:
        told = f"found the size {found!r:.100} of {descriptor['digest']}, allowed: bytes from 0 up"
        raise HostError(f"manifest: {told}; push the image anew")
    return found
