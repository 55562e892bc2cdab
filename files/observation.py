"""What a running server says of itself: its API, its metrics, the log of its start, its container.

Under the names that fleet/claims.py claims.
"""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import completion
import container
import docker_api
import durable
import layout
import metrics
import startlog
import tcp_table
from release import Release

Source = Literal["api", "metrics", "log", "container", "kernel"]
Value = str | int | float | bool

CACHE = "vllm:cache_config_info"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
ACCEPT_TRIES = 3
ASK_S = 60.0


@dataclass(frozen=True)
class Observation:
    """One thing that a server says: ``value`` of ``name``; ``line`` is where it says it."""

    name: str
    value: Value
    source: Source
    line: str


@dataclass
class Seen:
    """All that was seen. ``missing``: why a source said nothing."""

    all: list[Observation] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    version: str = ""

    def of(self, name: str) -> list[Observation]:
        """What was seen of one claim."""
        return [one for one in self.all if one.name == name]


def observe(release: Release) -> Seen:
    """Ask the server of ``release`` and those who started it; reads only, but for the short
    completions that make a speculating server count. Never raises for what a server does."""
    seen = Seen()
    _from_api(release, seen)
    _from_metrics(release, seen)
    _from_log(release, seen)
    _from_container(release, seen)
    _from_kernel(release, seen)
    return seen


def target(release: Release, timeout_s: float = ASK_S) -> completion.Target:
    """Where and under which name the server of ``release`` answers."""
    return completion.Target(
        release.address,
        release.port,
        release.served_name,
        timeout_s,
    )


def _from_api(release: Release, seen: Seen) -> None:
    deadline = time.monotonic() + ASK_S
    try:
        cards = completion.ask(target(release), "GET", "/v1/models", None, deadline).get("data")
        told = completion.ask(target(release), "GET", "/version", None, deadline)
    except completion.Failed as failed:
        seen.missing["api"] = str(failed)
        return
    seen.version = str(told.get("version", ""))
    for card in cards if isinstance(cards, list) else []:
        if isinstance(card, dict):
            seen.all += _card(card)


def _card(card: dict[str, Any]) -> Iterator[Observation]:
    """A LoRA adapter's card has a parent and its own root (vLLM 0.33, openai/models/serving.py)."""
    keys = {"served_name": "id"}
    if not card.get("parent"):
        keys |= {"max_model_len": "max_model_len", "model": "root"}
    for name, key in keys.items():
        if isinstance(value := card.get(key), str | int):
            yield Observation(name, value, "api", f"/v1/models: {key}={value}")


def _from_metrics(release: Release, seen: Seen) -> None:
    text = metrics.read(release.address, release.port)
    if text is None:
        seen.missing["metrics"] = "/metrics gave no answer"
        return
    engines = metrics.labels(text, CACHE)
    if not engines:
        seen.missing["metrics"] = f"/metrics has no {CACHE}"
    seen.all += [one for labels in engines for one in _cache(labels)]
    if "speculation_accepts" in release.claims:
        total = _accepted(release, text)
        if total is None:
            seen.missing.setdefault("metrics", f"/metrics has no {ACCEPTED}")
        else:
            line = f"{ACCEPTED} {total:.0f}"
            seen.all.append(Observation("speculation_accepts", bool(total), "metrics", line))


def _cache(labels: dict[str, str]) -> Iterator[Observation]:
    kinds: dict[str, tuple[str, type]] = {
        "cache_dtype": ("kv_cache_dtype", str),
        "enable_prefix_caching": ("prefix_caching", bool),
        "gpu_memory_utilization": ("gpu_memory_utilization", float),
        "kv_cache_memory_bytes": ("kv_cache_memory_bytes", int),
    }
    for label, (name, kind) in kinds.items():
        text = labels.get(label)
        if text is None:
            continue
        try:
            value = text == "True" if kind is bool else kind(text)
        except ValueError:
            value = text  # None, say: not what any claim allows
        yield Observation(name, value, "metrics", f'{CACHE}{{{label}="{text}"}}')


def _accepted(release: Release, text: str) -> float | None:
    """How many drafted tokens were ever accepted; a server that has not been asked yet is asked.
    None where it does not count them."""
    for tokens in (0, *(32 * n for n in range(1, ACCEPT_TRIES + 1))):
        if tokens:
            completion.complete(_longer(release, tokens))
            text = metrics.read(release.address, release.port) or text
        total = metrics.total(text, ACCEPTED)
        if total:
            break
    return total


def _longer(release: Release, tokens: int) -> completion.Target:
    made = target(release)
    text = "one two three four one two three four one two three four"
    return completion.Target(**{**vars(made), "prompt": text, "max_tokens": tokens})


def _from_log(release: Release, seen: Seen) -> None:
    """The lines that vllm.service kept when this very server started."""
    record = durable.read_json(layout.SERVING) or {}
    said = record.get("said")
    if record.get("release") != release.digest or not isinstance(said, list):
        seen.missing["log"] = f"{layout.SERVING} has no lines of release {release.digest}"
        return
    lines = [str(line) for line in said]
    found = [Observation(name, value, "log", line) for name, value, line in startlog.read(lines)]
    if not found:
        seen.missing["log"] = "the log has no line 'Initializing a V1 LLM engine'"
    seen.all += found
    seen.version = seen.version or startlog.version(lines)


def _from_container(release: Release, seen: Seen) -> None:
    """The image by the name it was started by, which must be one of its own digests."""
    try:
        item = container.parse(docker_api.ask(f"/containers/{release.container}/json"))
        digests = docker_api.ask(f"/images/{item.image_id}/json").get("RepoDigests")
    except docker_api.Absent:
        seen.missing["container"] = f"there is no container {release.container}, or not its image"
        return
    except (OSError, ValueError, KeyError) as error:
        seen.missing["container"] = f"Docker gave no answer: {error}; see systemctl status docker"
        return
    line = f"docker inspect {release.container}: {item.image}, {item.image_id}"
    names = [str(name) for name in digests] if isinstance(digests, list) else []
    ours = [name for name in names if _digest(name) == _digest(item.image)]
    value = item.image if ours or not names else names[0]
    seen.all.append(Observation("image", value, "container", line))


def _digest(name: str) -> str:
    """Registries have several names, docker.io or none; the digest is one."""
    return name.rpartition("@")[2]


def _from_kernel(release: Release, seen: Seen) -> None:
    """Every address on which the server listens, and whoever else holds its port on loopback."""
    for table, words in tcp_table.listening(release.port):
        found = _listener(_address(words[1].partition(":")[0]), int(words[7]))
        line = f"{table}: {words[1]}, user {words[7]}"
        seen.all += [Observation("listen", value, "kernel", line) for value in found]


def _listener(address: ipaddress.IPv4Address | ipaddress.IPv6Address, user: int) -> list[str]:
    """The proxy may have the same port on another address; nobody has a place on this one."""
    if user == layout.CONTAINER_USER:
        return [str(address)]
    ours = address.is_loopback or address.is_unspecified
    return [f"{address} by user {user}"] if ours else []


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes addresses as 32-bit words in the machine's byte order."""
    raw = bytes.fromhex(text)
    words = [int.from_bytes(raw[i : i + 4], sys.byteorder) for i in range(0, len(raw), 4)]
    return ipaddress.ip_address(b"".join(word.to_bytes(4, "big") for word in words))
