"""What must be there before a serving host is stopped for a release, and before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import command
import container
import durable
import layout
import model_request
import weights
from errors import HostError, Refused
from release import Release

FILES = ("compose.yaml", "vllm.yaml", "vllm.env", "release.json")


def check(release: Release) -> None:
    """Raise Refused if the release cannot start here; put its files on disk for good."""
    missing = [name for name in FILES if not (release.folder / name).is_file()]
    if missing:
        raise Refused(f"{release.folder} lacks {', '.join(missing)}; stage the release again")
    if command.attempt(["docker", "image", "inspect", release.image]).rc != 0:
        raise Refused(f"image {release.image} is not on this host; stage it first (deploy.py)")
    done = command.attempt([*container.compose(release), "config", "--quiet"])
    if done.rc != 0:
        raise Refused(f"{release.folder}/compose.yaml is not valid: {done.fault()}")
    container.refuse_foreign(release)
    for path in models(release):
        require_whole(path)
    durable.flush_tree(release.folder)


def models(release: Release) -> Iterator[Path]:
    """What was asked for of the models that the release reads: its own and its draft model."""
    config = (release.folder / "vllm.yaml").read_text(errors="replace")
    for path in layout.MODELS.glob("*/*.json"):
        if f"/{path.parent.name}/snapshots/{path.stem}" in config:
            yield path


def require_locked(release: Release, tell: weights.Tell) -> None:
    """Raise HostError unless the files of its models are as locked. Only those that are not as when
    they were last found good are read, which ``tell`` is told of as ``weights.check`` does."""
    try:
        for path in models(release):
            wanted = model_request.read(path)
            found = weights.check(wanted.folder, wanted.files, tell=tell)
            if not found.whole:
                raise HostError(
                    f"{wanted.repo}: {len(found.wanted)} of {len(wanted.files)} files are missing "
                    f"or not as locked: {found.wanted[0]}; bring it back with deploy.py"
                )
    except OSError as error:
        raise HostError(
            f"{error.filename}: {error.strerror}; bring it back with deploy.py"
        ) from None


def require_whole(path: Path) -> None:
    """Raise Refused unless every file of the model is as when its sha256 was found right."""
    wanted = model_request.read(path)
    if changed := weights.changed(wanted.folder, wanted.files):
        raise Refused(
            f"{wanted.repo}: {len(changed)} files are not as they were checked: {changed[0]}; "
            "bring it back with deploy.py or download.py"
        )
