"""Every setting, from the models themselves: what ``fleet settings`` and docs/settings.md show."""

from __future__ import annotations

import inspect
import json
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from fleet.settings import Data
from fleet.strict import Strict

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_HEAD = """# Settings

Every key that an inventory, `group_data/*.py` or `--data KEY=VALUE` may set for a host. pyinfra's
order holds: `--data` before the host's own line in the inventory, before its groups, before
`group_data/all.py`. A key that is not here is refused, as is a value of another type; the message
names the file, the key, what was found and what is allowed, before any connection.

A key without a default must be set: version pins are always written down, in `group_data/all.py`.

This file is made from the code: `fleet settings --markdown > docs/settings.md`.
"""
_TITLES = {
    "ServeSettings": "What a host serves",
    "HubSettings": "Where models come from",
    "BundleSettings": "Hosts without a way to the internet",
    "CacheSettings": "One cache for many hosts, over NFS",
    "AccessSettings": "The API beyond loopback",
    "GatewaySettings": "Many replicas, one endpoint",
    "MonitoringSettings": "Monitoring",
    "ImageSettings": "Our own image, by build.py",
    "RolloutSettings": "How a change moves over the fleet",
    "MeasureSettings": "Benchmark and baseline gate",
    "DriverSettings": "Kernel and driver",
    "ContainerSettings": "Docker and the container toolkit",
    "BaseSettings": "The operating system",
    "RunOptions": "Options of one run, by --data",
}


@dataclass(frozen=True)
class Entry:
    """One setting: its name, what it may be, its default as written (None: none), its meaning."""

    key: str
    kind: str
    default: str | None
    meaning: str


def sections() -> dict[str, list[Entry]]:
    """All settings by the part of the system they belong to."""
    owners = [kind for kind in Data.__mro__ if issubclass(kind, Strict) and _own(kind)]
    return {_title(kind): _entries(kind) for kind in sorted(owners, key=_order)}


def _title(kind: type[Strict]) -> str:
    return _TITLES.get(kind.__name__) or (kind.__doc__ or kind.__name__).splitlines()[0].rstrip(".")


def _order(kind: type[Strict]) -> int:
    titles = list(_TITLES)
    known = kind.__name__ in titles
    return titles.index(kind.__name__) if known else len(titles)


def _own(kind: type[Strict]) -> list[str]:
    """The fields that ``kind`` itself declares."""
    return [key for key in inspect.get_annotations(kind) if key in kind.model_fields]


def _entries(kind: type[Strict]) -> list[Entry]:
    return [_entry(key, kind.model_fields[key]) for key in _own(kind)]


def _entry(key: str, field: FieldInfo) -> Entry:
    default = (
        None if field.is_required() else _written(field.get_default(call_default_factory=True))
    )
    kind = _kind(field.annotation) + _limits(field.metadata)
    return Entry(field.alias or key, kind, default, field.description or "")


def _written(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0]) + _limits(inner[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner if one is not type(None))
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "mapping"
    if inspect.isclass(annotation) and issubclass(annotation, Strict):
        return "mapping"
    return _NAMES.get(annotation, "anything")


def _limits(metadata: Any) -> str:
    bounds = [f"≥ {item.ge}" for item in metadata if isinstance(item, Ge)]
    bounds += [f"≤ {item.le}" for item in metadata if isinstance(item, Le)]
    return f" {', '.join(bounds)}" if bounds else ""


def markdown() -> str:
    """docs/settings.md."""
    return _HEAD + "".join(_section(title, rows) for title, rows in sections().items())


def _section(title: str, rows: list[Entry]) -> str:
    head = f"\n## {title}\n\n| key | allowed | default | meaning |\n| --- | --- | --- | --- |\n"
    return head + "".join(map(_row, rows))


def _row(row: Entry) -> str:
    default = "must be set" if row.default is None else f"`{row.default}`"
    meaning = row.meaning.replace("|", "\\|")
    return f"| `{row.key}` | {row.kind} | {default} | {meaning} |\n"
