"""Read the YAML a person wrote, without YAML's traps: no repeated keys, no aliases, no dates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from fleet.problems import SettingsError, explain, shown

_LIMIT = 4 << 20  # bytes; the lock of a model with a thousand files is 0.2 MB
_M = TypeVar("_M", bound=BaseModel)
_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")
}


class _Loader(yaml.SafeLoader):
    """YAML's data model cut down to JSON's."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _error("an alias (*name) is not allowed here", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag not in _TAGS:
            raise _error(f"the tag {shown(node.tag)} is not allowed here", node.start_mark)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _error(f"the key {shown(key.value)} is not text, quote it", key.start_mark)
            if key.value in seen:
                raise _error(f"the key {shown(key.value)} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if "timestamp" not in tag]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str, place: str) -> object:
    """The value in ``text``; SettingsError with one line that names ``place`` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{place}:{mark.line + 1}" if mark else place
        raise SettingsError(f"{at}: not usable YAML: {_line(error.problem)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{place}: not usable YAML: {_line(error)}") from None


def read(path: Path, place: str) -> object:
    """The value in the file ``path``; ``place`` is how messages name it."""
    try:
        if path.stat().st_size > _LIMIT:
            raise SettingsError(f"{place}: found more than {_LIMIT >> 20} MiB, allowed: less")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{place}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{place}: not UTF-8 text at byte {error.start}") from None
    return parse(text, place)


def load(kind: type[_M], path: Path, place: str) -> _M:
    """The file ``path`` as a ``kind``; SettingsError has a line for each mistake in it.

    Read once as long as it does not change: every host of a fleet asks for the same few files.
    """
    try:
        now = path.stat()
    except OSError:
        return validate(kind, read(path, place), place)
    return cast(_M, _load(kind, path, place, (now.st_ino, now.st_mtime_ns, now.st_size)))


@lru_cache(maxsize=256)
def _load(kind: type[BaseModel], path: Path, place: str, version: tuple[int, ...]) -> BaseModel:
    return validate(kind, read(path, place), place)


def validate(kind: type[_M], raw: object, place: str) -> _M:
    """``raw`` as a ``kind``; SettingsError has a line for each mistake in it."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(*explain(error, kind, lambda key: place)) from None


def _line(problem: object) -> str:
    return " ".join(str(problem).split())[:200]
