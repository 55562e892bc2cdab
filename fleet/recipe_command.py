"""The command of a recipe, taken apart as words; nothing is run and nothing expanded. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.flags import KNOWN, SWITCHES
from fleet.problems import SettingsError, shown

_LONGEST = 64 << 10  # characters of a command
_SHORT = {"-tp": "tensor-parallel-size", "-pp": "pipeline-parallel-size", "-q": "quantization"}
_SHORT |= {"-dp": "data-parallel-size", "-sc": "speculative-config", "-cc": "compilation-config"}
_FILES = {"chat-template", "reasoning-parser-plugin", "tool-parser-plugin"}
_SHORT |= {"-ac": "attention-config", "-O": "optimization-level"}


@dataclass
class Recipe:
    """A recipe while it is taken apart."""

    values: Mapping[str, Any]
    place: str
    left: list[str] = field(default_factory=list)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.values.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise SettingsError(f"{self.place}: {key}: found {shown(value)}, allowed: a mapping")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise SettingsError(f"{self.place}: {key}: found {shown(value)}, allowed: text")
        return value

    def drop(self, what: str, why: str) -> None:
        self.left.append(f"{what}: {why}")


def plain(value: object) -> str:
    """``value`` as one short printable line."""
    text = " ".join(str(value).split())[:200]
    return text if text.isprintable() else ascii(text)


def fill(command: str, values: Mapping[str, Any]) -> str:
    """The command with ``{key}`` filled in; doubled braces (version 1) are literal ones."""
    doubled = "{{" in command

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        return match[0] if found is None or isinstance(found, dict | list) else str(found)

    filled = re.sub(r"\{(\w{1,80})\}", value, command)
    return filled.replace("{{", "{").replace("}}", "}") if doubled else filled


def words(recipe: Recipe, command: str) -> list[str]:
    """The words after ``vllm serve``; anything a shell would do is refused, not done."""
    joined = re.sub(r"\\[ \t]*\n", " ", command).strip()
    lines = [line for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"]
    if len(lines) != 1:
        raise SettingsError(
            f"{recipe.place}: command: found {len(lines)} commands, allowed: one vllm serve"
        )
    lexer = shlex.shlex(lines[0], posix=True, punctuation_chars=True)
    lexer.commenters = ""
    lexer.whitespace_split = True
    try:
        found = list(lexer)
    except ValueError as error:
        raise SettingsError(f"{recipe.place}: command: cannot be read: {error}") from None
    if found[:2] != ["vllm", "serve"]:
        raise SettingsError(
            f"{recipe.place}: command: found {shown(' '.join(found[:2]))}, allowed: vllm serve …"
        )
    if operator := next((word for word in found if word and set(word) <= set("();<>|&")), None):
        raise SettingsError(
            f"{recipe.place}: command: found {shown(operator)}, allowed: one command without shell"
        )
    return found[2:]


def taken_apart(recipe: Recipe, line: list[str]) -> dict[str, Any]:
    """``--name value``, ``--name=value``, ``--name`` and the short forms, as a mapping."""
    args: dict[str, Any] = {}
    at = 0
    while at < len(line):
        word = line[at]
        at += 1
        if not word.startswith("-") or word == "-":
            _positional(recipe, args, word)
            continue
        option, equals, value = word.partition("=")
        name = _SHORT.get(option, option.lstrip("-").replace("_", "-"))
        values = [value] if equals else []
        while not equals and at < len(line) and not _is_option(line[at]):
            values.append(line[at])
            at += 1
        _keep(recipe, args, name, values)
    return args


def _is_option(word: str) -> bool:
    return bool(re.match(r"--?[A-Za-z]", word))


def _positional(recipe: Recipe, args: dict[str, Any], word: str) -> None:
    if "model" in args:
        recipe.drop(plain(word), "a second model")
    else:
        args["model"] = word


def _keep(recipe: Recipe, args: dict[str, Any], name: str, values: list[str]) -> None:
    known = name in KNOWN or (name.startswith("no-") and name[3:] in SWITCHES)
    if not known and "." in name and name.split(".")[0] in KNOWN:
        recipe.drop(f"--{plain(name)}", "write it as a nested mapping in the mode's args")
    elif not known:
        recipe.drop(f"--{plain(name)}", "is unknown to vLLM 0.33")
    elif any(re.search(r"\{\w+\}", value) and not _is_json(value) for value in values):
        recipe.drop(f"--{name}", "its value is a placeholder without a default")
    elif any("$" in value or "`" in value for value in values):
        recipe.drop(f"--{name}", "its value is for a shell to expand")
    elif name in _FILES and len(values) == 1 and not re.search(r"[{\s]", values[0]):
        recipe.drop(f"--{name}", f"{shown(values[0])} is a file of their image; see docs/images.md")
    else:
        # A switch takes no value: what follows it is the model.
        if name.removeprefix("no-") in SWITCHES and values:
            _positional(recipe, args, values.pop(0))
        found = [typed(value) for value in values]
        args[name] = True if not found else found[0] if len(found) == 1 else found


def _is_json(text: str) -> bool:
    return isinstance(typed(text), dict | list)


def typed(text: str) -> Any:
    """A word as the value it stands for: JSON where it is JSON, else text."""
    if len(text) > 20 and text[0] not in "{[":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and value != value else value
