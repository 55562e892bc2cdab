"""Who may read what on the Hub stand-in, and its refusals in the Hub's words."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from lab.content.hub_faults import Faults
from lab.content.hub_store import Repo, Store

HUB_NAME = "huggingface.co"


class Refusal(Exception):
    """An answer other than 200, in the Hub's words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Hub:
    """What all connections share."""

    store: Store
    tokens: dict[str, list[str]]
    faults: Faults
    log: Path | None

    def note(self, **entry: object) -> None:
        """One line of the request log."""
        if self.log:
            with self.log.open("a") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")

    def readable(self, name: str, token: str | None, metadata: bool) -> Repo:
        """The repository, or the Hub's refusal. A gated one shows its metadata to everybody."""
        if token is not None and token not in self.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        repo = self.store.repo(name)
        allowed = repo is not None and (
            repo.access == "open" or name in self.tokens.get(token or "", [])
        )
        if repo is None or (repo.access == "private" and not allowed):
            if token is None:
                raise Refusal(401, "RepoNotFound", "Invalid username or password.")
            raise Refusal(404, "RepoNotFound", "Repository not found")
        if repo.access == "gated" and not allowed and not metadata:
            start = f"Access to model {name} is restricted"
            if token is None:
                raise Refusal(
                    401,
                    "GatedRepo",
                    f"{start}. You must have access to it and be authenticated to access it.",
                )
            raise Refusal(
                403,
                "GatedRepo",
                f"{start} and you are not in the authorized list. Visit "
                f"https://{HUB_NAME}/{name} to ask for access.",
            )
        return repo


def at(repo: Repo, revision: str) -> Repo:
    """The repository if it has that revision."""
    if not repo.has(revision):
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return repo
