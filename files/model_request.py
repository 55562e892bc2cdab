"""What a host is told about a model it is to have: written by the control side, kept on the host.

``/var/lib/vllm-fleet/models/<folder>/<revision>.json``; also the record of what we brought here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import weights
from errors import HostError
from weights import LockedFile

PART = ".fanout"  # how a file ends that comes in from another host


@dataclass(frozen=True)
class Request:
    """One locked model. ``rate``: bytes per second at most, 0 for no limit; ``window``: hours of
    the day (HH:MM-HH:MM) in which it may be downloaded, or none; ``patience_s``: how long a file
    that fails is tried again; ``token_file``: on this host, while a download that needs it runs.
    """

    hub: Path
    repo: str
    revision: str
    files: tuple[LockedFile, ...]
    image: str
    endpoint: str
    token_file: Path
    rate: int = 0
    window: str | None = None
    patience_s: float = 600.0

    @property
    def folder(self) -> Path:
        """Where its files have to lie."""
        return weights.snapshot_dir(self.hub, self.repo, self.revision)

    @property
    def blobs(self) -> Path:
        return weights.model_dir(self.hub, self.repo) / "blobs"

    def require_own(self) -> None:
        """HostError where its folders in the cache are links: what is written would go astray."""
        for folder in (self.folder, self.blobs):
            weights.require_own(self.hub, folder)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def read(path: Path) -> Request:
    """The request in ``path``; HostError says what is wrong with it."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Request(
            **{
                **raw,
                "hub": Path(raw["hub"]),
                "token_file": Path(raw["token_file"]),
                "files": tuple(LockedFile(**file) for file in raw["files"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HostError(f"{path}: unusable ({error}); run deploy.py again") from None
