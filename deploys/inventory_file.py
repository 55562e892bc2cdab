"""The inventory and the group data as a person wrote them: what pyinfra would drop in silence, or
tell by a traceback of its own, is a line that names file and key."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pyinfra.api.inventory import Inventory
from pyinfra_cli import cli
from pyinfra_cli import inventory as theirs
from pyinfra_cli.exceptions import CliError, UnexpectedExternalError
from pyinfra_cli.util import exec_file

from deploys import invocation, members
from fleet import group_data
from fleet.problems import SettingsError, shown, suggestion

_HOST = '"spark-01", or ("spark-01", {…})'
_GROUP = f"a list of hosts, each {_HOST}"

_make = cli.make_inventory
_group_values = theirs._get_group_data
_override: Callable[..., dict[str, Any]] = cli._set_override_data


def make(
    inventory: str,
    override_data: dict[str, Any] | None = None,
    cwd: str | None = None,
    group_data_directories: Iterable[str] | None = None,
) -> Inventory:
    """pyinfra's own inventory, or one line that says why there is none."""
    near = suggestion(inventory, _beside(inventory))
    if inventory.endswith(".py") and not Path(inventory).exists():
        raise CliError(f"{inventory}: no such file{near}")
    try:
        made: Inventory = _make(inventory, override_data, cwd, group_data_directories)
    except UnexpectedExternalError as error:
        raise CliError(group_data.unreadable(error.filename, error.exception)) from None
    except (SyntaxError, UnicodeDecodeError) as error:  # met before the file could run
        place = getattr(error, "filename", None) or inventory
        raise CliError(group_data.unreadable(place, error)) from None
    if not len(made):
        raise CliError(f"{inventory}: found no host to work on, allowed: {_GROUP}{near}")
    return made


def _beside(inventory: str) -> list[str]:
    """The Python files in its folder, written as it is."""
    return [str(path) for path in Path(inventory).parent.glob("*.py")]


def override_data(
    data: Iterable[str],
    ssh_user: str | None,
    ssh_key: str | None,
    ssh_key_password: str | None,
    ssh_port: int | None,
    ssh_password: str | None,
) -> dict[str, Any]:
    """What --data and the --ssh-… options say."""
    words = list(data)
    try:
        group_data.pairs(words)
    except SettingsError as error:
        raise CliError(error.problems[0]) from None
    return _override(words, ssh_user, ssh_key, ssh_key_password, ssh_port, ssh_password)


def refuse(problems: Iterable[str], place: str) -> None:
    """One line each, and the end of the run; nothing where there is none."""
    lines = list(dict.fromkeys(problems))
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        found = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise CliError(f"{found} in the {place}; no host was contacted")


def groups(file: str) -> dict[str, Any]:
    """The inventory's groups, each as pyinfra takes it; what may be meant as one and is none, is
    told."""
    found = exec_file(file, return_locals=True)
    own = group_data.assigned(Path(file))
    named = {n: v for n, v in found.items() if n in own and not n.startswith("_")}
    hosts = {_name(one) for value in named.values() for one in _hosts(value) or () if _is_host(one)}
    meant = {name: value for name, value in named.items() if _meant_as_group(name, value, hosts)}
    problems = [line for name, value in meant.items() for line in _mistakes(name, value)]
    refuse([f"{file}: {line}" for line in problems or _unlike(named)], "inventory")
    taken = {n: v for n, v in found.items() if theirs._is_inventory_group(n, v)}
    return {n: v for n, v in taken.items() if _hosts(v) is not None}  # pyinfra takes any tuple


def _meant_as_group(name: str, value: object, hosts: set[str]) -> bool:
    """A constant's name is in capitals. What is no list is meant where its name is a group's of
    ours, where it names one of the ``hosts``, or where there are none."""
    if name.isupper() or not isinstance(value, Iterable) or isinstance(value, type):
        return False
    if _hosts(value) is not None or name in (members.GROUP, members.MONITORING) or not hosts:
        return True
    inside = [value] if isinstance(value, str) else list(value)
    return any(_is_host(one) and _name(one) in hosts for one in inside)


def _mistakes(name: str, value: object) -> Iterator[str]:
    """What keeps a variable from being a group."""
    hosts = _hosts(value)
    if hosts is None:
        yield f"{name}: found {_kind(value)}, allowed: {_GROUP}; what is no group is called _{name}"
        return
    for number, one in enumerate(hosts):
        if not _is_host(one):
            yield f"{name}[{number}]: found {_kind(one)}, allowed: {_HOST}"
    names = [_name(one) for one in hosts if _is_host(one)]
    for twice in dict.fromkeys(one for one in names if names.count(one) > 1):
        yield f"{name}: found {twice!r} twice, allowed: once in a group; the second would hold"


def _hosts(value: object) -> list[Any] | None:
    """The hosts of a group, which may be a pair of them and their data."""
    match value:
        case list():
            return value
        case (list() | tuple() as hosts, dict()):
            return list(hosts)
    return None


def _is_host(one: object) -> bool:
    match one:
        case str():
            return bool(one)
        case (str(), dict() as data):
            return isinstance(one, tuple) and all(isinstance(key, str) for key in data)
    return False


def _name(one: str | tuple[str, Any]) -> str:
    return one if isinstance(one, str) else one[0]


def _kind(value: object) -> str:
    several = isinstance(value, list | tuple | dict | set)
    return f"a {type(value).__name__}" if several else shown(value)


def _unlike(groups: Mapping[str, object]) -> Iterator[str]:
    """Data of one host that differs from group to group: the last one's would hold."""
    seen: dict[tuple[str, str], tuple[str, object]] = {}
    for group, value in groups.items():
        for one in _hosts(value) or ():
            if not isinstance(one, tuple) or not _is_host(one):
                continue
            for key, found in one[1].items():
                first, other = seen.setdefault((one[0], key), (group, found))
                if other != found:
                    yield (
                        f"host {one[0]}: {key}: found {shown(other)} in {first}, {shown(found)} "
                        f"in {group}; allowed: one value; give the name alone in one of them"
                    )


def group_values(place: str) -> dict[str, dict[str, Any]]:
    """The data of a folder of group data, by group; files in it that nothing would read are told.

    pyinfra gives this function the groups of the inventory by its own context.
    """
    known = {*cli.ctx_inventory.get().group_data}
    folder = Path(place)
    if folder.is_dir() and known != {"all"}:  # an inventory that is no file has no other group
        refuse(_unread(folder, known), "group data")
    found: dict[str, dict[str, Any]] = _group_values(place)
    return found


def _unread(folder: Path, known: set[str]) -> list[str]:
    """Data for no group of this inventory, nor of another one that shares the folder."""
    readable = {f"{group}.py" for group in known}
    unread = [path for path in folder.iterdir() if path.name not in readable and _meant(path)]
    beside = {folder.parent, Path(invocation.inventory_file()).parent}
    shared = {name for place in beside for name in _other_groups(place)} if unread else set()
    names = sorted(readable)
    return [
        f"{path}: found a file that nothing reads, allowed: {', '.join(names)}, or a name that "
        f"begins with _{suggestion(path.name, names)}"
        for path in sorted(unread)
        if path.suffix != ".py" or path.stem not in shared
    ]


def _meant(path: Path) -> bool:
    """Not a person's notes, nor what programs leave behind."""
    return not path.name.startswith((".", "_")) and path.suffix != ".md"


def _other_groups(folder: Path) -> set[str]:
    """What other inventories in ``folder`` may call their groups."""
    files = list(folder.glob("*.py"))
    names = {file.stem for file in files}
    for file in files:
        with contextlib.suppress(SyntaxError, UnicodeDecodeError):
            names |= group_data.assigned(file)
    return names
