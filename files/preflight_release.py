"""What must be there before a serving host is stopped for a release."""

from __future__ import annotations

import command
import container
import durable
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
    durable.flush_tree(release.folder)
