"""`vllm serve` arguments as vLLM 0.32 takes them: flags.json is its parser's own table.

A config file becomes arguments that the command line beats; an unknown flag or key exits 2.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

FLAGS = Path(__file__).with_name("flags.json")
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
STATED_DEFAULTS: dict[str, object] = {
    "port": 8000,
    "max_num_seqs": 256,
    "shutdown_timeout": 0,
    "gpu_memory_utilization": 0.92,
    "kv_cache_dtype": "auto",
}


def size(text: str) -> int:
    """A human-readable count: 16M = 16 * 2**20, 16m = 16 * 10**6, else plain digits."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)([kmgtKMGT]?)", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"invalid human_readable_int value: {text!r}")
    number, unit = found.groups()
    return int(float(number) * (UNITS | BINARY_UNITS).get(unit, 1))


def json_object(text: str) -> object:
    """A JSON argument."""
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted") from None


KINDS: dict[str, Any] = {"int": int, "float": float, "size": size, "json": json_object, "str": str}


class Parser(argparse.ArgumentParser):
    """Prints the error in vLLM's form."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized"):
            self.exit(
                2, f"usage: vllm [-h] [-v]\n            {{serve}} ...\nvllm: error: {message}\n"
            )
        self.exit(2, f"usage: vllm serve [model_tag] [options]\nvllm serve: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Built from the recorded table."""
    made = Parser(prog="vllm serve", allow_abbrev=True)
    made.add_argument("model_tag", nargs="?")
    for names, kind, nargs, choices in json.loads(FLAGS.read_text()):
        if kind == "bool":
            made.add_argument(*names, action=argparse.BooleanOptionalAction, default=None)
        elif kind == "flag":
            made.add_argument(*names, action="store_true", default=None)
        else:
            options: dict[str, Any] = {"nargs": nargs} if nargs else {}
            made.add_argument(*names, type=KINDS[kind], choices=choices, **options)
    return made


def config_arguments(config: Mapping[str, object], known: argparse.ArgumentParser) -> list[str]:
    """A config file's keys as arguments: false is --no-KEY where that exists, else dropped."""
    argv: list[str] = []
    for key, value in config.items():
        if value is True:
            argv.append(f"--{key}")
        elif value is False:
            flag = f"--no-{key}"
            argv += [flag] if flag in known._option_string_actions else []
        elif isinstance(value, list):
            argv += [f"--{key}", *map(str, value)] if value else []
        elif isinstance(value, dict):
            argv += [f"--{key}", json.dumps(value)]
        else:
            argv += [f"--{key}", str(value)]
    return argv


def dashed(argv: list[str]) -> list[str]:
    """Flags with underscores are accepted, as vLLM does."""
    out = []
    for word in argv:
        flag, equals, value = word.partition("=")
        out.append(flag.replace("_", "-") + equals + value if word.startswith("--") else word)
    return out


def parse(argv: list[str]) -> dict[str, Any]:
    """The arguments in force, by dashed name; exits 2 on a mistake.

    Raises ValueError or OSError for a config file that cannot be read, as vLLM does.
    """
    made = parser()
    argv = dashed(argv[1:] if argv[:1] == ["serve"] else argv)
    if "--config" in argv:
        index = argv.index("--config")
        path = Path((argv[index + 1 :] or [""])[0])
        if path.suffix not in (".yaml", ".yml"):
            raise ValueError(f"Config file must be of a yaml/yml type. {path.suffix} supplied")
        rest = argv[:index] + argv[index + 2 :]
        tag = rest[:1] if rest and not rest[0].startswith("-") else []
        argv = tag + dashed(config_arguments(read_config(path), made)) + rest[len(tag) :]
    found = vars(made.parse_args(argv))
    found["model"] = found["model_tag"] or found["model"]
    given = {key: value for key, value in found.items() if value is not None}
    return {key.replace("_", "-"): value for key, value in (STATED_DEFAULTS | given).items()}


def read_config(path: Path) -> dict[str, object]:
    """The mapping in a YAML config file: JSON, or the plain block style people write.

    Block style here: `key: value`, nested mappings, lists of scalars; values are JSON (flow
    style included) or plain words.
    """
    text = path.read_text()
    try:
        found = json.loads(text)
    except ValueError:
        lines = [each for each in map(strip_comment, text.splitlines()) if each.strip()]
        found, rest = block(lines, 0)
        if rest:
            raise ValueError(f"{path}: cannot read the line {rest[0]!r}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: found {type(found).__name__}, wanted a mapping")
    return found


def strip_comment(line: str) -> str:
    """A line without its comment; a # inside quotes or a word stays."""
    if line.lstrip().startswith("#") or line.strip() == "---":
        return ""
    return re.sub(r"\s#[^\"']*$", "", line.rstrip())


def scalar(text: str) -> object:
    """A plain YAML scalar of the core schema, or JSON."""
    if text[:1] == text[-1:] == "'":
        return text[1:-1].replace("''", "'")
    words: dict[str, object] = {"true": True, "false": False, "null": None, "~": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] == "[" and text[-1:] == "]":
            return [scalar(each.strip()) for each in text[1:-1].split(",") if each.strip()]
        return text


def indent_of(line: str) -> int:
    """Leading blanks."""
    return len(line) - len(line.lstrip())


def block(lines: list[str], indent: int) -> tuple[Any, list[str]]:
    """The mapping or list that starts at ``indent``, and the lines after it."""
    if lines and lines[0].lstrip().startswith("- "):
        items = []
        while lines and indent_of(lines[0]) >= indent and lines[0].lstrip().startswith("- "):
            items.append(scalar(lines.pop(0).lstrip()[2:].strip()))
        return items, lines
    found: dict[str, object] = {}
    while lines and indent_of(lines[0]) == indent:
        key, colon, value = lines.pop(0).strip().partition(":")
        if not colon or (value and not value.startswith(" ")):
            raise ValueError(f"cannot read the line {key + colon + value!r}")
        name = str(scalar(key))
        deeper = lines and (indent_of(lines[0]) > indent or lines[0].lstrip().startswith("- "))
        if value.strip():
            found[name] = scalar(value.strip())
        elif deeper:
            found[name], lines = block(lines, indent_of(lines[0]))
        else:
            found[name] = None
    return found, lines
