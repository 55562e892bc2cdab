"""``fleet bundle``: collect for a fleet without internet what a deploy fetches; check it."""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fleet import (
    bundle,
    bundle_apt,
    bundle_packages,
    bundle_parts,
    bundle_sources,
    group_data,
    hub,
    settings,
)
from fleet.bundle import Bundle, Entry
from fleet.bundle_fetch import entry_of, save
from fleet.http import Client, trusting
from fleet.problems import SettingsError
from fleet.registry import Registry
from fleet.settings import Settings

PARTS = ("packages", "image", "model", "wheels")


# option → what argparse is told of it
OPTIONS: dict[str, dict[str, Any]] = {
    "--only": {
        "default": ",".join(PARTS),
        "metavar": "PART,…",
        "help": f"of {', '.join(PARTS)}; default: all. DGX OS hosts need no packages",
    },
    "--sources": {
        "type": Path,
        "metavar": "FILE",
        "help": "the hosts' own apt repositories (deb822); default: those of Ubuntu 24.04",
    },
    "--keyring": {
        "type": Path,
        "help": "key of these repositories here; default: as they say",
    },
    "--status": {
        "type": Path,
        "metavar": "FILE",
        "help": "/var/lib/dpkg/status of a bare host: take only what it lacks; default: take all",
    },
    "--token-file": {
        "type": Path,
        "help": "file with a Hub token; default: as huggingface_hub looks",
    },
    "--data": {
        "metavar": "KEY=VALUE",
        "action": "append",
        "default": [],
        "help": "a setting, as in pyinfra's --data; may be repeated",
    },
}


def add(commands: Any) -> None:
    """Add the commands to ``commands``."""
    made = commands.add_parser(
        "bundle",
        help="collect packages, image, weights and wheels for hosts without internet",
        description="fleet bundle DIR collects into DIR what group_data/all.py asks for; run again "
        "it goes on, or adds another model or image. fleet bundle check DIR reads all of it.",
        allow_abbrev=False,
    )
    made.add_argument("folder", metavar="DIR", help="or: check DIR")
    made.add_argument("checked", nargs="?", metavar="DIR", help=argparse.SUPPRESS)
    for name, told in OPTIONS.items():
        made.add_argument(name, **told)
    made.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.folder == "check":
        if not options.checked:
            raise SettingsError("fleet bundle check: missing: the folder")
        return _check(Path(options.checked))
    if options.checked:
        raise SettingsError(f"command line: found {options.checked!r}, allowed: one folder")
    return _collect(options)


def _collect(options: argparse.Namespace) -> int:
    folder, parts = Path(options.folder), _parts(options.only)
    wanted = _settings(options.data)
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder, wanted)
    authority = _path(wanted.extra_ca)
    client = trusting(authority) if authority else Client()
    work: dict[str, Callable[[Bundle], Bundle]] = {
        "packages": lambda known: _packages(options, client, folder, known, wanted),
        "image": lambda known: _image(client, folder, known, wanted),
        "model": lambda known: _models(options, folder, known, wanted),
        "wheels": lambda known: _with(known, bundle_parts.wheels(folder)),
    }
    for part in parts:
        known = work[part](known)
        save(folder, known)
    print(f"{folder}: {_summary(known)}, {_digest(folder)}")
    return 0


def _settings(pairs: list[str]) -> Settings:
    """group_data/all.py, then the command line, as a host would have them."""
    data = group_data.values(settings.Data.model_fields)
    data |= {key: group_data.value(text) for key, text in group_data.pairs(pairs).items()}
    data.pop("bundle", None)  # the bundle of a fleet is collected from the internet
    return settings.load("bundle", data, lambda _: "group_data/all.py or --data", whole=True)


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _parts(text: str) -> list[str]:
    found = [word.strip() for word in text.split(",")]
    if unknown := [word for word in found if word not in PARTS]:
        raise SettingsError(f"--only: found {unknown[0]!r}, allowed: {', '.join(PARTS)}")
    return [part for part in PARTS if part in found]


def _known(folder: Path, wanted: Settings) -> Bundle:
    """What the folder holds already."""
    if not (folder / bundle.MANIFEST).exists():
        return Bundle(arch=wanted.host_arch)
    known = bundle.load(folder)
    if known.arch != wanted.host_arch:
        raise SettingsError(f"{folder}: found a bundle for {known.arch}, wanted {wanted.host_arch}")
    return known


def _with(known: Bundle, files: Mapping[str, Entry], **more: object) -> Bundle:
    return known.model_copy(update={**more, "files": {**known.files, **files}})


def _packages(
    options: argparse.Namespace, client: Client, folder: Path, known: Bundle, wanted: Settings
) -> Bundle:
    bundle_apt.require()
    stanzas = _sources(options.sources, wanted)
    authority = _path(wanted.extra_ca)
    with tempfile.TemporaryDirectory() as name:
        apt = bundle_apt.prepare(Path(name), options.status, wanted, authority)
        bundle_packages.define(apt, client, wanted, stanzas, options.keyring)
        found = bundle_packages.collect(apt, client, folder, known, wanted)
    # Indices that are signed anew name other packages: of the old ones nothing is of use.
    old = {name for name in known.files if name.startswith("packages/") and name not in found}
    for name in old:
        (folder / name).unlink(missing_ok=True)
    kept = {name: entry for name, entry in known.files.items() if name not in old}
    return known.model_copy(update={"sources": stanzas, "files": {**kept, **found}})


def _sources(given: Path | None, wanted: Settings) -> tuple[str, ...]:
    if given is None:
        return bundle_sources.read(bundle_packages.base_sources(wanted.host_arch), "Ubuntu 24.04")
    try:
        return bundle_sources.read(given.read_text(encoding="utf-8"), str(given))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--sources: {given}: cannot be read: {error}") from None


def _image(client: Client, folder: Path, known: Bundle, wanted: Settings) -> Bundle:
    name = wanted.vllm_image
    found = _with(
        known,
        bundle_parts.image(Registry(client), folder, known, name),
        images=tuple(sorted({*known.images, name})),
    )
    return _with(found, bundle_parts.index(folder, found))


def _models(options: argparse.Namespace, folder: Path, known: Bundle, wanted: Settings) -> Bundle:
    env = {**os.environ, "HF_ENDPOINT": wanted.hf_endpoint}
    token = options.token_file or _path(wanted.hf_token_file)
    authority = _path(wanted.extra_ca)
    asked = hub.from_environment(env, token, authority)
    for lock in wanted.locks:
        hub.require(asked, lock)
        found = bundle_parts.model(asked, folder, known, lock)
        known = _with(known, found, models={**known.models, lock.repo: lock.revision})
    return known


def _summary(known: Bundle) -> str:
    size = sum(entry.size for entry in known.files.values())
    return f"{len(known.files)} files, {size / 2**30:.2f} GiB"


def _digest(folder: Path) -> str:
    return f"sha256:{hashlib.sha256((folder / bundle.MANIFEST).read_bytes()).hexdigest()}"


def _check(folder: Path) -> int:
    """Read every file; what is not as bundle.json says is a line, and exit status 1."""
    known = bundle.load(folder)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        problems = [
            line
            for line in pool.map(lambda item: _wrong(folder, *item), known.files.items())
            if line
        ]
    if problems:
        raise SettingsError(*problems)
    print(f"{folder}: as it should be: {_summary(known)}, {_digest(folder)}")
    return 0


def _wrong(folder: Path, name: str, wanted: Entry) -> str:
    try:
        found = entry_of(bundle.inside(folder, name))
    except SettingsError as error:
        return error.problems[0]
    return "" if found == wanted else f"{folder / name}: not as {bundle.MANIFEST} says"
