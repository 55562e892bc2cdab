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
from fleet.settings import Settings
from fleet.snapshot import Snapshot

DOWNLOAD_DEADLINE_S = 48 * 3600  # 400 GB at 20 Mbit/s; a second run joins a download that goes on


def request(settings: Settings) -> dict[str, str]:
    """What the snapshot is asked about the model."""
    return {
        "hub": str(Path(settings.models_dir) / "hub"),
        "repo": settings.model.repo,
        "revision": settings.model.revision,
    }


def whole(settings: Settings, snapshot: Snapshot) -> bool:
    """Every locked file is there and as it was when its sha256 was last found right."""
    asked = request(settings)
    name = "models--" + asked["repo"].replace("/", "--")
    folder = Path(asked["hub"]) / name / "snapshots" / asked["revision"]
    record = (snapshot.serving.verified or {}).get(str(folder), {})
    found = snapshot.model.files if snapshot.model else {}
    return all(
        file.path in found
        and found[file.path].mark is not None
        and record.get(file.path) == [file.sha256, *(found[file.path].mark or ())]
        for file in settings.model.files
    )


def _token(settings: Settings) -> str | None:
    """The Hub token's text; it stays on the host only while the download runs."""
    if settings.hf_token_file is None:
        return None
    return Path(settings.hf_token_file).expanduser().read_text().strip()


@operation()
def downloaded(settings: Settings, deep: bool = False) -> Commands:
    """The locked revision is in the cache, whole."""
    if not deep and whole(settings, current(settings)):
        host.noop(f"{settings.model.repo} is whole")
        return
    forget()
    try:
        token = _token(settings)
    except OSError as error:
        yield refuse(
            f"hf_token_file: found {settings.hf_token_file}, which cannot be read ({error.strerror}); "
            "allowed: a readable file with the token; correct the path or drop the key"
        )
        return
    name = settings.model.repo.replace("/", "--")
    path = str(layout.STATE / "models" / f"{name}.json")
    token_path = str(layout.SECRETS / "hf_token")
    wanted = {
        **request(settings),
        "image": settings.vllm_image,
        "endpoint": settings.hf_endpoint,
        "token_file": token_path if token else None,
        "files": [file.model_dump() for file in settings.model.files],
        "deep": deep,
    }
    files = {path: File(json.dumps(wanted, sort_keys=True))}
    if token:
        files[token_path] = File(token, mode="600", secret=True)
    yield write_command(files)
    argv = ["/usr/bin/python3", str(layout.PROGRAMS / "fetch_model.py"), path]
    yield job("download", argv, deadline_s=DOWNLOAD_DEADLINE_S)


@deploy("Model")
def run(*, settings: Settings) -> None:
    downloaded(name="Bring the locked model into the cache", settings=settings)
