"""The hosts' own apt repositories, as deb822 stanzas: what a bundle may say of them.

A bundle may be anybody's, and a source decides whom apt believes. So a stanza has these few fields,
and is signed by a keyring that lies on the host already.
"""

from __future__ import annotations

import re

from fleet.problems import SettingsError, shown

_WORDS = r"[A-Za-z0-9._/+-]+( [A-Za-z0-9._/+-]+)*"
_URL = r"https?://[A-Za-z0-9][A-Za-z0-9._-]*(:\d+)?/[A-Za-z0-9._~/+-]*"
_FIELDS = {
    "Types": r"deb( deb-src)?",
    "URIs": rf"{_URL}( {_URL})*",
    "Suites": _WORDS,
    "Components": _WORDS,
    "Architectures": _WORDS,
    "Signed-By": r"/(usr/share|etc/apt)/keyrings/[A-Za-z0-9._+-]+",
}
_NEEDED = ("Types", "URIs", "Suites", "Signed-By")


def stanza(text: str) -> str:
    """``text`` if it is one stanza as ``read`` gives it; ValueError tells what is allowed."""
    found = _fields(text)
    wrong = [k for k, value in found.items() if not re.fullmatch(_FIELDS.get(k, "(?!)"), value)]
    if wrong or [key for key in _NEEDED if key not in found] or _text(found) != text:
        allowed = ", ".join(_FIELDS)
        raise ValueError(
            f"allowed: an apt source of {allowed}, one line each; Signed-By a file in "
            "/usr/share/keyrings or /etc/apt/keyrings"
        )
    return text


def read(sources: str, place: str) -> tuple[str, ...]:
    """The enabled stanzas of a deb822 file, in one form; SettingsError names ``place``."""
    lines = [line for line in sources.splitlines() if not line.startswith("#")]
    parts = [part for part in re.split(r"\n\s*\n", "\n".join(lines)) if part.strip()]
    found = [fields for part in parts if (fields := _fields(part)).pop("Enabled", "yes") != "no"]
    try:
        return tuple(stanza(_text(fields)) for fields in found)
    except ValueError as error:
        raise SettingsError(f"{place}: found {shown(' '.join(found[0]))}, {error}") from None


def _fields(text: str) -> dict[str, str]:
    """Field → value; a line that is no field has no name."""
    pairs = [line.partition(":") for line in text.strip().splitlines()]
    return {key.strip(): " ".join(value.split()) for key, _, value in pairs}


def _text(fields: dict[str, str]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def mirrored(place: str, text: str) -> str:
    """The source, read from ``place``/HOST/PATH instead; whom it trusts stays as it is."""
    there = re.sub(r"https?://", f"{place}/", text)
    # Of an index a bundle has one form, and of the indices only those of packages.
    return f"{there.strip()}\nBy-Hash: no\nLanguages: none\nTargets: Packages\n"
