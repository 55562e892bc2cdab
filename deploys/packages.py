"""Packages and the repositories they come from: installed if missing, never moved, then held."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import layout
from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.operation import operation

from deploys import bundle, programs
from deploys.host_state import current, forget
from deploys.operations import Commands, File, differing, write_command
from fleet import bundle as bundles
from fleet import host_files
from fleet.host_files import Repository
from fleet.host_packages import installed
from fleet.settings import Settings
from fleet.snapshot import Snapshot


def repository_files(repository: Repository) -> tuple[str, ...]:
    """The paths that ``defined`` compares."""
    return repository.source, repository.keyring


def check_command(
    settings: Settings,
    repositories: Sequence[Repository],
    packages: Mapping[str, str],
    *,
    store: bool,
) -> StringCommand:
    """Fails unless keys, signatures and pinned versions fit; ``store`` then keeps the keys."""
    described = [
        {
            "key_url": _place(settings, repository.key_url),
            "fingerprint": repository.fingerprint,
            "keyring": repository.keyring,
            "source": _source(settings, repository),
        }
        for repository in repositories
    ]
    request = {
        "repositories": described,
        "packages": dict(packages),
        "extra_ca": extra_ca(settings),
        "store": store,
    }
    return programs.command("check_repository", request)


def extra_ca(settings: Settings) -> str | None:
    """The text of the certificate that hosts trust as well."""
    return Path(settings.extra_ca).expanduser().read_text() if settings.extra_ca else None


def _place(settings: Settings, url: str) -> str:
    """Where hosts find what lies at ``url``."""
    return bundles.mirrored(settings, url) if settings.bundle else url


def _source(settings: Settings, repository: Repository) -> str:
    """The apt source that is read now; what the host keeps is the vendor's in any case."""
    text = host_files.sources(settings, repository)[repository.source]
    return bundles.apt_source(settings, text) if settings.bundle else text


def install(settings: Settings, packages: Mapping[str, str | None], **more: bool) -> Commands:
    """Commands that install ``packages`` at these versions, from the bundle if there is one."""
    yield from bundle.reach(settings)
    request: dict[str, object] = {"packages": dict(packages), **more}
    if settings.bundle:
        vendors = (host_files.cuda, host_files.docker, host_files.container_toolkit)
        known = [of(settings) for of in vendors]
        request["sources"] = [
            *({"text": text, "keyring": None} for text in bundle.sources(settings)),
            *({"text": _source(settings, r), "keyring": r.keyring} for r in known),
        ]
    yield programs.command("install_packages", request)


@operation()
def defined(settings: Settings, repository: Repository) -> Commands:
    """The vendor's repository, signed by the key whose fingerprint is pinned, and no other."""
    now = current(settings)
    files = {p: File(text) for p, text in host_files.sources(settings, repository).items()}
    wrong = differing(now, files)
    trusted = repository.keyring in now.files
    if trusted and not wrong:
        host.noop(f"{repository.source} is as wanted")
        return
    forget()
    if not trusted:
        yield from bundle.reach(settings)
        yield check_command(settings, [repository], {}, store=True)
    if wrong:
        yield write_command(wrong)


@operation()
def present(settings: Settings, packages: Mapping[str, str | None]) -> Commands:
    """Install what is missing. A package that is there at another version stays as it is."""
    now = current(settings)
    missing = {name: v for name, v in packages.items() if installed(now, name) is None}
    if not missing:
        host.noop(f"{len(packages)} packages are installed")
        return
    forget()
    yield from install(settings, missing)


@operation()
def moved(settings: Settings, packages: Mapping[str, str]) -> Commands:
    """Move ``packages`` to these versions, held or not: upgrade.py only."""
    if not packages:
        host.noop("all packages are at their pins")
        return
    forget()
    yield from install(settings, packages, move=True)


@operation()
def held(settings: Settings, packages: Collection[str]) -> Commands:
    """Keep what is installed of ``packages`` where it is."""
    loose = to_hold(current(settings), packages)
    if not loose:
        host.noop("all are held")
        return
    forget()
    # What was held before us stays held when remove.py lets go of ours.
    record = QuoteString(str(layout.HELD))
    yield StringCommand("mkdir", "-p", QuoteString(str(layout.STATE)))
    yield StringCommand("printf", r"'%s\n'", *map(QuoteString, loose), ">>", record)
    yield StringCommand("apt-mark", "hold", *map(QuoteString, loose))


def to_hold(snapshot: Snapshot, packages: Collection[str]) -> list[str]:
    """The installed ones that are not held."""
    return [n for n in packages if installed(snapshot, n) and not snapshot.packages[n].hold]
