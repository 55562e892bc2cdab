"""What must be there before a serving host is stopped for a release."""

from __future__ import annotations

from pathlib import Path

import command
import container
import durable
import layout
import model_request
import weights
from errors import Refused
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
    for path in layout.MODELS.glob("*/*.json"):
        if reads(release, path):
            require_whole(path)
    durable.flush_tree(release.folder)


def reads(release: Release, wanted: Path) -> bool:
    """Whether the release serves what was asked for there, as its model or as its draft model."""
    snapshot = f"/{wanted.parent.name}/snapshots/{wanted.stem}"
    return snapshot in (release.folder / "vllm.yaml").read_text(errors="replace")


def require_whole(path: Path) -> None:
    """Raise Refused unless every file of the model is as when its sha256 was found right."""
    wanted = model_request.read(path)
    if changed := weights.changed(wanted.folder, wanted.files):
        raise Refused(
            f"{wanted.repo}: {len(changed)} files are not as they were checked: {changed[0]}; "
            "bring it back with deploy.py or download.py"
        )
