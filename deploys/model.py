"""The model's files, in the host's cache and checked by sha256, before anything stops.

``from_hub`` and ``as_locked`` are the two ways a host comes to have a whole model: it downloads it
itself, or something else put the files there. Both end with every file compared with the lock.
"""

from __future__ import annotations

import json

import layout
from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import bundle, fanout, hub_access, job, nfs, remote
from deploys.host_state import current, forget
from deploys.job import Job
from deploys.operations import Commands, File, refuse
from deploys.report import RUN
from fleet import bundle as bundles
from fleet.models import ModelLock
from fleet.preflight_room import lacking
from fleet.problems import SettingsError
from fleet.settings import Settings
from fleet.snapshot import Snapshot

DOWNLOAD_DEADLINE_S = 48 * 3600  # 400 GB at 20 Mbit/s; a second run joins a download that goes on
UNITS = "vllm-fleet-download-*.service"
_LISTED = ("--plain", "--no-legend", "--full")
CHECK_DEADLINE_S = 6 * 3600  # 1 TB at 50 MB/s


def requests(settings: Settings) -> list[dict[str, str]]:
    """What the snapshot is asked about the model, and about its draft model if there is one."""
    return [request(settings, lock) for lock in settings.locks]


def request(settings: Settings, lock: ModelLock) -> dict[str, str]:
    return {"hub": settings.hub, "repo": lock.repo, "revision": lock.revision}


def whole(settings: Settings, lock: ModelLock, snapshot: Snapshot) -> bool:
    """Every locked file is there and as it was when its sha256 was last found right."""
    record = (snapshot.serving.verified or {}).get(f"{settings.hub}/{lock.snapshot}", {})
    found = snapshot.models[lock.repo].files if lock.repo in snapshot.models else {}
    return all(
        file.path in found
        and record.get(file.path)
        == [file.sha256, *(found[file.path].mark or ("link into nowhere",))]
        for file in lock.files
    )


def missing(settings: Settings, snapshot: Snapshot) -> list[ModelLock]:
    """The locked models that the host does not have whole and checked."""
    return [lock for lock in settings.locks if not whole(settings, lock, snapshot)]


def from_hub(settings: Settings, lock: ModelLock, *, deep: bool = False) -> Commands:
    """Commands after which the current host has all of ``lock``, checked; what it lacks comes from
    the Hub. With ``deep`` what was found good before is read again."""
    files = request_files(settings, lock)
    try:
        if token := hub_access.token(settings):
            files[_token_path(lock)] = File(token, mode="600", secret=True)
    except SettingsError as error:
        yield refuse(f"hf_token_file: {error.problems[0]}")
        return
    yield from bundle.reach(settings)
    argv = _program("fetch_model", lock)
    after = [*argv, "--clean"]
    argv += ["--deep"] if deep else []
    yield job.run(Job("download", argv, DOWNLOAD_DEADLINE_S, files, after))


def as_locked(settings: Settings, lock: ModelLock, *, deep: bool = False) -> Commands:
    """Commands that compare what lies in the current host's cache with ``lock``: they fail, naming
    the files, unless it is whole. Bad files are set aside. Nothing is fetched."""
    files = request_files(settings, lock)
    argv = [*_program("check_model", lock), *(["--deep"] if deep else [])]
    yield job.run(Job("check", argv, CHECK_DEADLINE_S, files))


def _program(name: str, lock: ModelLock) -> list[str]:
    return ["/usr/bin/python3", str(layout.PROGRAMS / f"{name}.py"), request_path(lock)]


def request_path(lock: ModelLock) -> str:
    return str(layout.MODELS / lock.folder / f"{lock.revision}.json")


def _token_path(lock: ModelLock) -> str:
    return str(layout.HUB_TOKENS / lock.revision)


def request_files(settings: Settings, lock: ModelLock) -> dict[str, File]:
    """The file that tells the host's programs about the model."""
    return {request_path(lock): File(_request_file(settings, lock))}


def _request_file(settings: Settings, lock: ModelLock) -> str:
    """What ``files/model_request.py`` reads."""
    body = {
        **request(settings, lock),
        "image": settings.vllm_image,
        "endpoint": bundles.hub(settings) if settings.bundle else settings.hf_endpoint,
        "token_file": _token_path(lock),
        "rate": int(settings.download_mbit * 1e6 / 8),
        "window": settings.download_hours,
        "patience_s": settings.download_patience_s,
        "files": [file.model_dump() for file in lock.files],
    }
    return json.dumps(body, sort_keys=True)


@operation()
def downloaded(settings: Settings, deep: bool = False) -> Commands:
    """The locked revisions are in the cache, whole."""
    wanted = list(settings.locks) if deep else missing(settings, current(settings))
    if not wanted:
        host.noop("the model is whole")
        return
    RUN.plan[host.name] = [_work(lock, current(settings)) for lock in wanted]
    forget()
    for lock in wanted:
        yield from from_hub(settings, lock, deep=deep)


@operation()
def agrees(settings: Settings, deep: bool = False) -> Commands:
    """The model that another host brought into the shared cache is as locked from here as well."""
    wanted = list(settings.locks) if deep else missing(settings, current(settings))
    if not wanted:
        host.noop("the model is whole")
        return
    forget()
    for lock in wanted:
        yield from as_locked(settings, lock, deep=deep)


def _work(lock: ModelLock, now: Snapshot) -> str:
    """What a person should know before it begins."""
    lacks = lacking(lock, now)
    if not lacks:
        return f"check {lock.repo}: {len(lock.files)} files, {lock.size / 2**20:.1f} MiB"
    size = sum(file.size for file in lacks) / 2**20
    return f"fetch {lock.repo}: {len(lacks)} of {len(lock.files)} files, {size:.1f} MiB"


@operation()
def cancelled(settings: Settings) -> Commands:
    """No download runs on the host. Files that have come whole stay."""
    units = StringCommand("systemctl", "list-units", *_LISTED, QuoteString(UNITS))
    try:
        listed = remote.run(host, units)
    except remote.TROUBLE as error:
        yield refuse(f"download units: {remote.why(error)}")
        return
    running = [words[0] for line in listed if (words := line.split())[3:4] == ["running"]]
    if not running:
        host.noop("no download runs")
        return
    RUN.plan[host.name] = [f"stop {unit}" for unit in running]
    yield StringCommand("systemctl", "stop", *running)


@deploy("Model")
def cancel(*, settings: Settings) -> None:
    cancelled(name="Stop the downloads that run", settings=settings)


@deploy("Model")
def run(*, settings: Settings) -> None:
    deep = settings.deep_check
    if fanout.wanted(settings):
        fanout.run(settings=settings)
    if nfs.fills(settings):
        downloaded(name="Bring the locked model into the cache", settings=settings, deep=deep)
    else:  # pyinfra brings every host through the step above before it begins this one
        agrees(name="Check the model in the shared cache", settings=settings, deep=deep)
