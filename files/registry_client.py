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
CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')


@dataclass(frozen=True)
class Manifest:
    """An index or an image's manifest, byte for byte as its digest says."""

    digest: str
    kind: str
    text: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
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
    for entry in first.body.get("manifests", ()):
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
            manifests.append(registry.manifest(str(entry["digest"])))
    blobs: dict[str, int] = {}
    for manifest in manifests:
        for blob in (manifest.body.get("config"), *manifest.body.get("layers", ())):
            if blob:
                blobs[str(blob["digest"]).removeprefix("sha256:")] = int(blob["size"])
    if not blobs:
        raise HostError(f"{digest}: found no image for linux/{arch} behind it")
    return manifests, blobs
