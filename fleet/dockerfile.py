"""What a Dockerfile builds on, and what it must be told: read before anything is built. Pure.

Only as much of the language as decides that: ARG, FROM and COPY --from. Every image it builds on
is pinned by digest, here or in a build argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleet.problems import shown, suggestion

_PINNED = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_ARG = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(=.*)?")
_FROM = re.compile(r"(?:--platform=\S+\s+)?(\S+)(?:\s+as\s+(\S+))?", re.IGNORECASE)
_COPY = re.compile(r"--from=(\S+)")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
# Docker itself knows these, without an ARG.
_PROXIES = {f"{name}_proxy" for name in ("http", "https", "ftp", "no", "all")}
PREDEFINED = _PROXIES | {name.upper() for name in _PROXIES}
_PLATFORM = re.compile(r"(BUILD|TARGET)(PLATFORM|OS|ARCH|VARIANT)")  # given by BuildKit


@dataclass
class _Reading:
    """``defaults``: each ARG → its default, None without one. ``stages``: names so far."""

    given: Mapping[str, str]
    defaults: dict[str, str | None] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)

    def value(self, text: str) -> str:
        """``text`` with its arguments put in; one that has no value stays as it is written."""

        def replace(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            return self.given.get(name) or self.defaults.get(name) or match[0]

        return _VARIABLE.sub(replace, text).strip("\"'")

    def arg(self, rest: str) -> None:
        for word in rest.split():
            if found := _ARG.fullmatch(word):
                default = found[2][1:].strip("\"'") if found[2] else None
                self.defaults[found[1]] = default or self.defaults.get(found[1])

    def base(self, reference: str) -> str:
        """What is wrong with an image that is built on; "" when it is pinned, or a stage."""
        image = self.value(reference)
        known = {"scratch", *self.stages, *map(str, range(len(self.stages)))}
        if image.lower() in known or _PINNED.fullmatch(image):
            return ""
        if any(self._needs(m[1] or m[2]) for m in _VARIABLE.finditer(reference)):
            return ""  # told as a missing argument
        return f"builds on {shown(image)}, allowed: an image by digest, NAME@sha256:<64 hex digits>"

    def _needs(self, name: str) -> bool:
        return not self.given.get(name) and not self.defaults.get(name)

    def missing(self) -> list[str]:
        return [n for n in self.defaults if self._needs(n) and not _PLATFORM.fullmatch(n)]


def problems(text: str, given: Mapping[str, str]) -> list[str]:
    """What is wrong with a Dockerfile that gets the build arguments ``given``; a line each."""
    reading, found = _Reading(given), []
    for word, rest in _instructions(text):
        if word == "ARG":
            reading.arg(rest)
        elif word == "FROM" and (match := _FROM.fullmatch(rest)):
            found.append(reading.base(match[1]))
            reading.stages.append((match[2] or "").lower())
        elif word in ("COPY", "ADD") and (match := _COPY.search(rest)):
            found.append(reading.base(match[1]))
    if not reading.stages:
        found.append("has no FROM")
    found += [f"image_build_args.{name}: missing, the Dockerfile has no default for it"
              for name in reading.missing()]  # fmt: skip
    found += [f"image_build_args.{name}: the Dockerfile has no such ARG"
              + suggestion(name, reading.defaults)
              for name in given if name not in reading.defaults | dict.fromkeys(PREDEFINED)
              ]  # fmt: skip
    return [problem for problem in dict.fromkeys(found) if problem]


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction, upper case, with the rest of its lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word.upper(), rest.strip()
