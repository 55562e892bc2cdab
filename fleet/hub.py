"""Ask the Hub's API for what a lock needs. The network half of ``fleet lock``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fleet import lock
from fleet.http import Answer, Client, Unreachable, check_url, trusting
from fleet.lock import Listed, Listing
from fleet.models import ModelLock, repo_name
from fleet.problems import SettingsError, shown

ENDPOINT = "https://huggingface.co"
_LISTING = 32 << 20  # bytes
_REFUSAL = 64 << 10  # bytes; a refusal may be longer than the small file that was asked for
_TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{1,500}")


@dataclass(frozen=True)
class Hub:
    """A Hub and who asks: ``token`` goes into one header and nowhere else."""

    endpoint: str = ENDPOINT
    token: str | None = field(default=None, repr=False)
    client: Client = field(default_factory=Client)

    def get(self, path: str, limit: int) -> Answer:
        return self.client.get(f"{self.endpoint}{path}", self.headers(), limit)

    def headers(self) -> dict[str, str]:
        """What every request says."""
        asked = {"User-Agent": "spark-vllm-fleet"}
        return asked | ({"Authorization": f"Bearer {self.token}"} if self.token else {})


def from_environment(
    env: Mapping[str, str], token_file: Path | None = None, authority: Path | None = None
) -> Hub:
    """The Hub of $HF_ENDPOINT with the token of ``token_file``, $HF_TOKEN, $HF_TOKEN_PATH or
    $HF_HOME/token, in this order, as huggingface_hub has it. ``authority`` is trusted as well."""
    endpoint = (env.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    check_url(endpoint)
    client = trusting(authority) if authority else Client()
    return Hub(endpoint, _token(env, token_file), client)


def _token(env: Mapping[str, str], token_file: Path | None) -> str | None:
    if token_file is not None:
        return private_token(token_file)
    if env.get("HF_TOKEN"):
        return _checked_token(env["HF_TOKEN"].strip(), "HF_TOKEN")
    if env.get("HF_TOKEN_PATH"):
        return token_in(Path(env["HF_TOKEN_PATH"]))
    home = env.get("HF_HOME") or os.path.join(env.get("HOME", ""), ".cache/huggingface")
    usual = Path(home, "token")
    return token_in(usual) if usual.is_file() else None


def private_token(path: Path) -> str:
    """As ``token_in``, of a file that is to be its owner's alone."""
    found = token_in(path)
    if path.stat().st_mode & 0o077:
        raise SettingsError(
            f"{path}: others may read it; allowed: mode 0600; chmod 600 {path}, and change the "
            "token if they may have read it"
        )
    return found


def token_in(path: Path) -> str:
    """The Hub token that a file holds; SettingsError never repeats it."""
    try:
        content = path.read_text(encoding="ascii")[:1000].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{path}: the Hub token cannot be read: {reason}") from None
    return _checked_token(content, str(path))


def _checked_token(token: str, place: str) -> str:
    """A token that fits into a header; the message never repeats it."""
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{place}: found no usable Hub token, allowed: one line such as hf_…")
    return token


def make_lock(hub: Hub, repo: str, revision: str = "main") -> ModelLock:
    """The lock of ``repo`` at ``revision`` (branch, tag or commit); SettingsError is one line."""
    try:
        repo_name(repo)
    except ValueError as error:
        raise SettingsError(f"model: found {shown(repo)}, {error}") from None
    listing = _listing(hub, repo, revision)
    small = {
        file.path: _small(hub, repo, listing, file) for file in listing.files if not file.sha256
    }
    config = small.get(lock.CONFIG)
    if config is None:
        raise SettingsError(f"{repo}: has no {lock.CONFIG}: not a model that vLLM can serve")
    place = f"{repo}@{listing.commit[:12]}"
    hashes = {
        file.path: lock.checked_sha256(small[file.path], file, place)
        for file in listing.files
        if not file.sha256
    }
    kept = lock.kept_config(config, small.get(lock.MODELOPT_FILE), place)
    return lock.make(repo, listing, hashes, kept)


def require(hub: Hub, lock: ModelLock) -> None:
    """The Hub gives every file of ``lock`` to who asks. SettingsError is one line that tells what
    it refuses; Unreachable where it gave no answer."""
    listed = {file.path: file for file in _listing(hub, lock.repo, lock.revision).files}
    for file in lock.files:
        found = listed.get(file.path)
        if found is None:
            raise SettingsError(f"{lock.repo}: has no file {shown(file.path)} at its locked commit")
        if found.sha256 not in (None, file.sha256) or found.size != file.size:
            raise SettingsError(
                f"{lock.repo}: {shown(file.path)} is not as in its lock; make a new one with: "
                f"fleet lock {lock.repo} --revision {lock.revision}"
            )
    answer = hub.get(f"/api/models/{lock.repo}/auth-check", _REFUSAL)
    # A mirror that does not know the question says nothing of the repository.
    unknown = answer.status == 404 and "X-Error-Code" not in answer.headers
    if answer.status != 200 and not unknown:
        raise _refusal(hub, lock.repo, lock.revision, answer)


def _listing(hub: Hub, repo: str, revision: str) -> Listing:
    if not revision.isprintable() or not 1 <= len(revision) <= 255:
        raise SettingsError(f"revision: found {shown(revision)}, allowed: a branch, tag or commit")
    path = f"/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    answer = hub.get(path, _LISTING)
    if answer.status != 200:
        raise _refusal(hub, repo, revision, answer)
    listing = lock.read_listing(_json(answer.body, repo), f"{hub.endpoint}: {repo}")
    if re.fullmatch("[0-9a-f]{40}", revision) and listing.commit != revision:
        raise SettingsError(f"{repo}: asked for commit {revision}, answered {listing.commit}")
    return listing


def _small(hub: Hub, repo: str, listing: Listing, file: Listed) -> bytes:
    """The content of a file that is not in LFS, read to the byte that was listed."""
    if file.size > lock.SMALL:
        raise SettingsError(
            f"{repo}: {shown(file.path)}: found {file.size} bytes outside LFS, "
            f"allowed: at most {lock.SMALL}"
        )
    path = f"/{repo}/resolve/{listing.commit}/{quote(file.path)}"
    answer = hub.get(path, max(file.size, _REFUSAL))
    if answer.status != 200:
        raise _refusal(hub, repo, listing.commit, answer)
    return answer.body


def _json(body: bytes, repo: str) -> object:
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise SettingsError(f"{repo}: the Hub's answer is not usable JSON") from None
    return parsed


def _refusal(hub: Hub, repo: str, revision: str, answer: Answer) -> SettingsError:
    """What the Hub's refusal means and what to do; X-Error-Code tells most of them apart."""
    code = answer.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        who = "the token's account has no access" if hub.token else "no token was given"
        what = f"is gated and {who}: accept its terms at {hub.endpoint}/{repo}, then use that token"
    elif code == "RevisionNotFound":
        what = f"has no revision {shown(revision)}, allowed: a branch, a tag or a commit"
    elif code == "EntryNotFound":
        what = "lists a file that it does not have; try again"
    elif answer.status in (401, 403) and hub.token and code != "RepoNotFound":
        what = "is refused: the Hub does not accept the token (hf_token_file, HF_TOKEN)"
    elif answer.status in (401, 403, 404):
        what = _not_visible(hub)
    else:
        return Unreachable(f"{repo}: cannot be read: HTTP {answer.status} from {hub.endpoint}")
    return SettingsError(f"{repo}: {what}")


def _not_visible(hub: Hub) -> str:
    """The Hub hides private repositories: without access they look like missing ones."""
    if hub.token:
        return "is missing, or private and not visible to the token's account"
    return "is missing or private: if it is private, set HF_TOKEN or HF_TOKEN_PATH"
