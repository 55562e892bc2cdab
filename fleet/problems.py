"""Mistakes in what a person wrote: one line each, with what was found and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

_SECRET = re.compile(r"\b(hf_|sk-|nvapi-|ghp_)[A-Za-z0-9_-]{8,}|://[^/\s@]*:[^/\s@]*@")
_SHOWN = 80  # characters of a wrong value that a message repeats
_ALLOWED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}


class SettingsError(ValueError):
    """Values that cannot be used. ``problems`` has one line for each mistake."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def is_secret(text: str) -> bool:
    """Whether ``text`` has what looks like a token, or a password in an address."""
    return _SECRET.search(text) is not None


def shown(value: object) -> str:
    """``value`` as a message may repeat it: one line, bounded, nothing that looks like a token."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set):
        return "a list" if value else "an empty list"
    if isinstance(value, str) and is_secret(value):
        return "what looks like a secret (not repeated here)"
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # an int of more digits than Python prints
        text = f"a huge {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def suggestion(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    near = difflib.get_close_matches(str(word)[:_SHOWN], list(known), n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""


def choice(place: str, key: str, found: object, known: Iterable[str]) -> str:
    """The line for a name that is not one of ``known``."""
    names = sorted(known)
    allowed = ", ".join(names) or "none yet"
    return f"{place}: {key}: found {shown(found)}, allowed: {allowed}{suggestion(found, names)}"


def explain(
    error: ValidationError, kind: type[BaseModel], place: Callable[[str], str]
) -> list[str]:
    """One line for each wrong value in ``error``; ``place(key)`` names the file of a top key."""
    allowed: dict[tuple[str, bool], list[str]] = {}  # a mapping's key and its value differ
    for detail in error.errors(include_url=False):
        path = _path(detail)
        words = allowed.setdefault((path, "[key]" in detail["loc"]), [])
        if (text := _say(detail, kind)) not in words:
            words.append(text)
    return [
        f"{place(re.split(r'[.[]', path, maxsplit=1)[0])}: {path}: {_join(words)}"
        for (path, _), words in allowed.items()
    ]


def _join(words: list[str]) -> str:
    """Several reasons for one value: the branches of a union differ only in what is allowed."""
    first, *more = words
    return " or ".join([first, *(word.partition("allowed: ")[2] or word for word in more)])


def _path(detail: Any) -> str:
    """``a.b[2]``; the names pydantic adds for the branches of a union are left out."""
    text = ""
    for step in detail["loc"]:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step not in ("int", "str", "float", "bool", "[key]") or not text:
            text += f".{_one_line(step)}" if text else _one_line(step)
    return text or "(file)"


def _one_line(step: object) -> str:
    text = str(step)[:_SHOWN]
    return text if text.isprintable() else ascii(text)


def _say(detail: Any, kind: type[BaseModel]) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "missing":
        return "missing" + _meaning(detail, kind, "wanted")
    if detail["type"] == "extra_forbidden":
        known = list(kind.model_fields) if len(detail["loc"]) == 1 else []
        return f"unknown key{suggestion(detail['loc'][-1], known)}"
    if detail["type"] == "value_error":
        return f"found {shown(detail['input'])}, {context['error']}"
    if detail["type"] == "string_pattern_mismatch":
        meaning = _meaning(detail, kind) or f", allowed: {context['pattern']}"
        return f"found {shown(detail['input'])}{meaning}"
    allowed = _ALLOWED.get(detail["type"], detail["msg"]).format(**context) + _as_list(detail)
    return f"found {shown(detail['input'])}, allowed: {allowed}"


def _as_list(detail: Any) -> str:
    """How a list is written that was given as the one text in it."""
    text = detail["input"]
    if detail["type"] not in ("list_type", "tuple_type") or shown(text) != f"'{text}'":
        return ""
    return f""": ["{text}"]; with --data: '["{text}"]'"""


def _meaning(detail: Any, kind: type[BaseModel], word: str = "allowed") -> str:
    """What the field is, in the words of its own description."""
    field = kind.model_fields.get(str(detail["loc"][0])) if len(detail["loc"]) == 1 else None
    return f", {word}: {field.description}" if field and field.description else ""
