"""The files on the control side that a run is going to read, tried before the first connection.

The steps read them again, each in its turn: they may change on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from deploys import first_contact, hub_access, invocation, members, provenance
from fleet import images, vault
from fleet.problems import SettingsError, choice
from fleet.settings import Settings

KEYED = {"deploy.py", "switch.py", "rotate_key.py"}  # these make keys and certificates
WITH_MODELS = {"deploy.py", "switch.py", "download.py"}

Where = Callable[[str], str]


def mistakes(inventory: Inventory, settings: Mapping[str, Settings]) -> list[str]:
    """One line for each that cannot be read."""
    run = set(invocation.deploy_files())
    lines: list[str] = []
    for host in inventory:
        if found := settings.get(host.name):
            where = provenance.where(host, invocation.inventory_file())
            lines += _of_host(host, found, run, where)
    return lines


def _of_host(host: Host, settings: Settings, run: set[str], where: Where) -> Iterator[str]:
    if settings.extra_ca and (invocation.fetches() or "build.py" in run):
        authority = Path(settings.extra_ca)
        yield from _told("extra_ca", where, lambda: vault.text(authority, "extra_ca"))
    if run & WITH_MODELS:
        yield from _told("hf_token_file", where, lambda: hub_access.token(settings))
    if run & KEYED and (settings.exposed or host.name in members.GATEWAYS):
        yield from _of_clients(settings, where)
    if "build.py" in run:
        yield from _of_image(host, settings, where)
    if "bootstrap.py" in run:
        yield from _told("public_key", where, lambda: first_contact.public_key(host, settings))
        yield from _told(
            "first_password_file", where, lambda: first_contact.password_in_file(settings)
        )


def _told(key: str, where: Where, read: Callable[[], object]) -> Iterator[str]:
    """What is wrong with the file of ``key``, after the place where it is named."""
    try:
        read()
    except SettingsError as error:
        for line in error.problems:
            yield f"{where(key)}: {line if line.startswith(f'{key}: ') else f'{key}: {line}'}"


def _of_clients(settings: Settings, where: Where) -> Iterator[str]:
    """What clients are let in by, and what they trust."""
    given = "api_key_file" if settings.api_key_file else "secrets_dir"
    if settings.api_auth == "key":
        yield from _told(given, where, lambda: vault.keys(settings))
    if settings.tls == "files":
        chain, key = Path(settings.tls_certificate_file or ""), Path(settings.tls_key_file or "")
        name = "tls_certificate_file"
        yield from _told(name, where, lambda: vault.text(chain, name))
        yield from _told("tls_key_file", where, lambda: vault.read(key, "tls_key_file"))
    if settings.tls == "own-ca" or (settings.api_auth == "key" and given == "secrets_dir"):
        yield from _told("secrets_dir", where, lambda: _folder(Path(settings.secrets_dir)))


def _folder(path: Path) -> None:
    """Refuse what is no folder and can become none."""
    path = path.expanduser()
    standing = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not standing.is_dir() or (standing != path and not os.access(standing, os.W_OK)):
        raise SettingsError(
            f"secrets_dir: found {path}, which {standing} is in the way of; allowed: a folder, or "
            "where one can be made"
        )


def _of_image(host: Host, settings: Settings, where: Where) -> Iterator[str]:
    """What build.py builds from, and where."""
    hosts = [each.name for each in host.inventory]
    if settings.image_builder not in hosts:
        yield choice(where("image_builder"), "image_builder", settings.image_builder, hosts)
    elif settings.image_builder == host.name:
        yield from _told("image_folder", where, lambda: images.build(settings))
