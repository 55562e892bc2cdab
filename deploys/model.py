"""The model's files, in the host's cache and checked by sha256, before anything stops."""

from __future__ import annotations

import json
from pathlib import Path

import layout
from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import current, forget
from deploys.job import job
from deploys.operations import Commands, File, refuse, write_command
from fleet.models import ModelLock
from fleet.settings import Settings
from fleet.snapshot import Snapshot

DOWNLOAD_DEADLINE_S = 48 * 3600  # 400 GB at 20 Mbit/s; a second run joins a download that goes on


def requests(settings: Settings) -> list[dict[str, str]]:
    """What the snapshot is asked about the model, and about its draft model if there is one."""
    return [request(settings, lock) for lock in settings.locks]


def request(settings: Settings, lock: ModelLock) -> dict[str, str]:
    hub = str(Path(settings.models_dir) / "hub")
    return {"hub": hub, "repo": lock.repo, "revision": lock.revision}


def whole(settings: Settings, lock: ModelLock, snapshot: Snapshot) -> bool:
    """Every locked file is there and as it was when its sha256 was last found right."""
    folder = Path(settings.models_dir) / "hub" / lock.folder / "snapshots" / lock.revision
    record = (snapshot.serving.verified or {}).get(str(folder), {})
    found = snapshot.models[lock.repo].files if lock.repo in snapshot.models else {}
    return all(
        file.path in found
        and record.get(file.path)
        == [file.sha256, *(found[file.path].mark or ("link into nowhere",))]
        for file in lock.files
    )


def _token(settings: Settings) -> str | None:
    """The Hub token's text; it stays on the host only while the download runs."""
    if settings.hf_token_file is None:
        return None
    return Path(settings.hf_token_file).expanduser().read_text().strip()


def _wanted(settings: Settings, lock: ModelLock, token: str | None, deep: bool) -> str:
    """The request file of ``files/fetch_model.py``."""
    body = {
        **request(settings, lock),
        "image": settings.vllm_image,
        "endpoint": settings.hf_endpoint,
        "token_file": token,
        "files": [file.model_dump() for file in lock.files],
        "deep": deep,
    }
    return json.dumps(body, sort_keys=True)


@operation()
def downloaded(settings: Settings, deep: bool = False) -> Commands:
    """The locked revisions are in the cache, whole."""
    now = current(settings)
    missing = [lock for lock in settings.locks if deep or not whole(settings, lock, now)]
    if not missing:
        host.noop("the model is whole")
        return
    forget()
    try:
        token = _token(settings)
    except OSError as error:
        yield refuse(
            f"hf_token_file: found {settings.hf_token_file}, unreadable ({error.strerror}); "
            "allowed: a file that holds the token; correct the path or drop the key"
        )
        return
    for lock in missing:
        path = str(layout.STATE / "models" / f"{lock.folder}.json")
        token_path = str(layout.SECRETS / "hf_token") if token else None
        files = {path: File(_wanted(settings, lock, token_path, deep))}
        if token and token_path:
            files[token_path] = File(token, mode="600", secret=True)
        yield write_command(files)
        argv = ["/usr/bin/python3", str(layout.PROGRAMS / "fetch_model.py"), path]
        yield job("download", argv, deadline_s=DOWNLOAD_DEADLINE_S)


@deploy("Model")
def run(*, settings: Settings) -> None:
    downloaded(name="Bring the locked model into the cache", settings=settings)
