"""``fleet lock image``: a tag of a container registry to the digest behind it, over its HTTP API.

The digest is that of what the tag names: for a multi-platform image that is the index, not the
manifest of one platform. A pull by it is just as fixed, hosts record exactly it as RepoDigest, and
one pin serves arm64 hosts and the amd64 lab. The index must have the wanted platform.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from fleet.http import Answer, Client, check_url
from fleet.loopback import is_loopback
from fleet.problems import SettingsError, shown
from fleet.untrusted import mapping

HUB = "registry-1.docker.io"  # what Docker asks for names without a registry
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LIMIT = 4 << 20  # bytes; registries take manifests of at most this size
_NAME = re.compile(
    r"(?:(?P<host>[A-Za-z0-9.-]+(?:\.[A-Za-z0-9-]+|:\d{1,5})|localhost)/)?"
    r"(?P<repository>[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*)"
    r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})"
)
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True)
class Reference:
    """REGISTRY/REPOSITORY:TAG, as a person writes it for Docker."""

    name: str
    host: str
    repository: str
    tag: str

    @property
    def base(self) -> str:
        """Scheme and host; http only on this machine."""
        scheme = "http" if is_loopback(urlsplit(f"//{self.host}").hostname or "") else "https"
        return f"{scheme}://{self.host}"

    def url(self, kind: str, name: str) -> str:
        """Where the registry keeps manifest or blob ``name``."""
        return f"{self.base}/v2/{self.repository}/{kind}/{name}"


def reference(text: str) -> Reference:
    """``text`` as a reference; SettingsError tells what is allowed."""
    found = _NAME.fullmatch(text)
    if not found or "@" in text:
        raise SettingsError(
            f"image: found {shown(text)}, allowed: NAME:TAG such as vllm/vllm-openai:v0.33.0"
        )
    host, repository = found["host"], found["repository"]
    if host in (None, "docker.io"):
        host = HUB
        repository = repository if "/" in repository else f"library/{repository}"
    return Reference(text.rpartition(":")[0], host, repository, found["tag"])


def pinned(text: str) -> Reference:
    """NAME@DIGEST, as a setting has it; the digest stands for the tag."""
    name, _, digest = text.partition("@")
    found = reference(f"{name}:pinned")
    return Reference(name, found.host, found.repository, digest)


def digest_of(content: bytes) -> str:
    """sha256:…"""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Registry:
    """One registry, asked anonymously; ``token`` is what it hands out for that."""

    client: Client = field(default_factory=Client)
    token: str | None = field(default=None, repr=False)

    def resolve(self, wanted: Reference, platform: str = "linux/arm64") -> str:
        """``NAME@sha256:…`` of what the tag names; SettingsError where ``platform`` is missing."""
        answer = self.manifest(wanted, wanted.tag)
        digest = digest_of(answer.body)
        told = answer.headers.get("Docker-Content-Digest", digest)
        if told != digest:
            raise SettingsError(f"{wanted.name}: the registry says {shown(told)}, sent {digest}")
        found = self.platforms(wanted, answer)
        if platform not in found:
            names = ", ".join(sorted(found)) or "none"
            raise SettingsError(
                f"{wanted.name}:{wanted.tag}: has {shown(names)}, allowed: with {platform}"
            )
        return f"{wanted.name}@{digest}"

    def platforms(self, wanted: Reference, answer: Answer) -> set[str]:
        """The platforms of an index, or the one of a manifest (its config says it)."""
        manifest = _object(answer, wanted.name)
        listed = manifest.get("manifests")
        if isinstance(listed, list):
            entries = [mapping(entry, wanted.name).get("platform") for entry in listed]
            return {_platform(entry) for entry in entries if isinstance(entry, dict)}
        config = mapping(manifest.get("config"), f"{wanted.name}: config").get("digest")
        if not isinstance(config, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", config):
            raise SettingsError(f"{wanted.name}: config: found {shown(config)}, allowed: a digest")
        return {_platform(_object(self.get(wanted, wanted.url("blobs", config)), wanted.name))}

    def manifest(self, wanted: Reference, name: str) -> Answer:
        return self.get(wanted, wanted.url("manifests", name))

    def get(self, wanted: Reference, url: str) -> Answer:
        """GET with the anonymous token flow: refused once, fetch a token, ask again."""
        answer = self.client.get(url, self.headers(), _LIMIT)
        if answer.status == 401 and self.token is None:
            self.token = self._fetch_token(wanted, answer.headers.get("WWW-Authenticate", ""))
            answer = self.client.get(url, self.headers(), _LIMIT)
        if answer.status != 200:
            raise _refusal(wanted, answer.status)
        return answer

    def headers(self) -> dict[str, str]:
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS)), "User-Agent": "spark-vllm-fleet"}
        return accept | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def _fetch_token(self, wanted: Reference, challenge: str) -> str:
        if not challenge.startswith("Bearer "):
            raise _refusal(wanted, 401)
        asked = dict(_CHALLENGE.findall(challenge))
        realm = asked.pop("realm", "")
        check_url(realm)
        asked.setdefault("scope", f"repository:{wanted.repository}:pull")
        answer = self.client.get(f"{realm}?{urlencode(asked)}", {}, _LIMIT)
        if answer.status != 200:
            raise _refusal(wanted, 401)
        found = _object(answer, wanted.host)
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise SettingsError(f"{wanted.host}: gave no usable token")
        return token


def _object(answer: Answer, place: str) -> Mapping[str, object]:
    try:
        parsed = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise SettingsError(f"{place}: the registry's answer is not usable JSON") from None
    return mapping(parsed, place)


def _platform(entry: Mapping[str, object]) -> str:
    return f"{entry.get('os')}/{entry.get('architecture')}"[:80]


def _refusal(wanted: Reference, status: int) -> SettingsError:
    what = {
        401: "needs a login, which is not supported; mirror it into a registry that does not",
        403: "is not open to anonymous pulls",
        404: f"has no tag {wanted.tag!r}, or does not exist",
    }
    said = what.get(status, f"cannot be read: HTTP {status} from {wanted.host}")
    return SettingsError(f"{wanted.name}: {said}")
