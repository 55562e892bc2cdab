"""The locks of the lab's models, as `fleet lock` would write them: python -m lab.content.locks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fleet import lock
from fleet.models import file_name
from lab.content.models import MODELS, HubRepo, blob_id

FOLDER = Path(__file__).parents[2] / "models"


def listing(repo: HubRepo) -> lock.Listing:
    """The repository as the Hub would list it."""
    files = tuple(
        lock.Listed(
            path,
            len(content),
            hashlib.sha256(content).hexdigest() if repo.in_lfs(path) else None,
            blob_id(content),
        )
        for path, content in repo.files.items()
    )
    return lock.Listing(repo.commit, files, repo.gated, repo.private)


def text(repo: HubRepo) -> str:
    """The lock file's text."""
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in repo.files.items()}
    config = lock.kept_config(repo.files["config.json"], None, repo.name)
    return lock.text(lock.make(repo.name, listing(repo), hashes, config))


def main() -> None:
    """Write both locks."""
    for make in MODELS.values():
        repo = make()
        (FOLDER / file_name(repo.name)).write_text(text(repo))


if __name__ == "__main__":
    main()
