"""Locking over HTTP: what a Hub answers, what it refuses, and what it must not be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import http, hub, lock
from fleet.hub import Hub
from fleet.models import ModelLock
from fleet.problems import SettingsError
from lab.content.models import MODELS, blob_id
from tests.fleet.web import Reply, Site, site

TINY = MODELS["lab/tiny"]()
INFO = f"/api/models/{TINY.name}/revision/main?blobs=true"
TOKEN = "hf_thisisasecrettokenxyz"


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as made:
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
            | ({"lfs": lfs(content)} if TINY.in_lfs(path) else {})
            for path, content in TINY.files.items()
        ]
        info = {"sha": TINY.commit, "gated": False, "private": False, "siblings": siblings}
        made.replies[INFO] = Reply(body=json.dumps(info).encode())
        for path, content in TINY.files.items():
            made.replies[f"/{TINY.name}/resolve/{TINY.commit}/{path}"] = Reply(body=content)
        yield made


def lfs(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def asker(web: Site, token: str | None = None) -> Hub:
    waits: list[float] = []
    return Hub(web.address, token, http.Client(sleep=waits.append))


def refusal(web: Site, token: str | None = None, revision: str = "main") -> str:
    with pytest.raises(SettingsError) as error:
        hub.make_lock(asker(web, token), TINY.name, revision)
    assert len(error.value.problems) == 1
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)
    return str(error.value)


def test_a_lock_has_every_file_with_its_sha256(web: Site) -> None:
    made = hub.make_lock(asker(web), TINY.name)
    assert made.revision == TINY.commit
    assert {file.path: file.sha256 for file in made.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in TINY.files.items()
    }
    # Weights come with their hash; nobody downloads them for a lock.
    assert not any("safetensors" in path for path, _ in web.asked)
    assert lock.text(made) == (Path("models") / "lab--tiny.yaml").read_text()


def test_the_token_goes_into_the_header_only(web: Site) -> None:
    hub.make_lock(asker(web, TOKEN), TINY.name)
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, headers in web.asked)
    assert TOKEN not in repr(asker(web, TOKEN))


@pytest.mark.parametrize(
    ("code", "token", "said"),
    [
        ("GatedRepo", None, "is gated and no token was given: accept its terms at"),
        ("GatedRepo", TOKEN, "is gated and the token's account has no access"),
        ("RepoNotFound", None, "is missing or private: if it is private, set HF_TOKEN"),
        ("RepoNotFound", TOKEN, "is missing, or private and not visible to the token's account"),
        ("RevisionNotFound", None, "has no revision 'main', allowed: a branch"),
        ("", TOKEN, "is refused: the Hub does not accept the token"),
    ],
)
def test_refusals_are_told_apart(web: Site, code: str, token: str | None, said: str) -> None:
    status = 404 if code == "RevisionNotFound" else 401
    web.replies[INFO] = Reply(status, headers={"X-Error-Code": code})
    assert said in refusal(web, token)


def test_a_gated_repository_shows_its_files_but_not_what_is_in_them(web: Site) -> None:
    config = f"/{TINY.name}/resolve/{TINY.commit}/config.json"
    web.replies[config] = Reply(403, headers={"X-Error-Code": "GatedRepo"})
    assert "is gated" in refusal(web)


def test_a_busy_hub_is_asked_again(web: Site) -> None:
    busy = [Reply(503), Reply(429, headers={"Retry-After": "7"})]
    good = web.replies[INFO]
    assert isinstance(good, Reply)
    web.replies[INFO] = [*busy, good]
    waits: list[float] = []
    hub.make_lock(Hub(web.address, None, http.Client(sleep=waits.append)), TINY.name)
    assert waits == [1.0, 7.0]


def test_a_hub_that_stays_busy_is_told(web: Site) -> None:
    web.replies[INFO] = Reply(503)
    assert "cannot be read: HTTP 503" in refusal(web)
    assert len(web.asked) == http.TRIES


def test_a_hub_that_is_not_there_is_told() -> None:
    with site() as gone:
        pass
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:\d+: cannot be reached"):
        hub.make_lock(asker(gone), TINY.name)


def test_an_endless_answer_is_cut_off(web: Site) -> None:
    config = f"/{TINY.name}/resolve/{TINY.commit}/config.json"
    web.replies[config] = Reply(body=b"x" * (1 << 20))
    assert "answered more than 65536 bytes" in refusal(web)


def test_a_changed_file_is_refused(web: Site) -> None:
    config = f"/{TINY.name}/resolve/{TINY.commit}/config.json"
    web.replies[config] = Reply(body=b"y" * 656)
    assert "config.json': not the file that the commit names" in refusal(web)


def test_another_commit_than_asked_is_refused(web: Site) -> None:
    wanted = "f" * 40
    web.replies[INFO.replace("main", wanted)] = web.replies[INFO]
    assert f"asked for commit {wanted}" in refusal(web, revision=wanted)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"sha": 1}', b"[" * 100_000])
def test_an_answer_that_makes_no_sense_is_refused(web: Site, body: bytes) -> None:
    web.replies[INFO] = Reply(body=body)
    refusal(web)


def test_revisions_cannot_change_the_address(web: Site) -> None:
    refusal(web, revision="../../x?y")
    assert web.asked[-1][0] == f"/api/models/{TINY.name}/revision/..%2F..%2Fx%3Fy?blobs=true"


def test_the_token_comes_from_where_huggingface_hub_looks(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_fromhome\n")
    (tmp_path / "other").write_text("hf_frompath\n")
    home = {"HF_HOME": str(tmp_path), "HOME": "/nonexistent"}
    path = home | {"HF_TOKEN_PATH": str(tmp_path / "other")}
    assert hub.from_environment(home).token == "hf_fromhome"
    assert hub.from_environment(path).token == "hf_frompath"
    assert hub.from_environment(path | {"HF_TOKEN": "hf_env"}).token == "hf_env"
    with pytest.raises(SettingsError, match="token: others may read it; allowed: mode 0600"):
        hub.from_environment(path, tmp_path / "token")
    (tmp_path / "token").chmod(0o600)
    assert hub.from_environment(path, tmp_path / "token").token == "hf_fromhome"
    assert hub.from_environment({"HOME": "/nonexistent"}).token is None


@pytest.mark.parametrize("token", ["hf_a\nX-Evil: 1", "two words", "é", "x" * 600])
def test_a_token_that_would_break_the_header_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="HF_TOKEN: found no usable Hub token") as error:
        hub.from_environment({"HF_TOKEN": token})
    assert token not in str(error.value)


@pytest.mark.parametrize("endpoint", ["http://hub.example", "ftp://x", "hub.example", "file:///x"])
def test_a_token_never_travels_in_the_clear(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="allowed: an https:// address"):
        hub.from_environment({"HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN})


LISTED = f"/api/models/{TINY.name}/revision/{TINY.commit}?blobs=true"
CHECK = f"/api/models/{TINY.name}/auth-check"


@pytest.fixture
def locked(web: Site) -> ModelLock:
    """The lock of what the Hub has, which it would give."""
    made = hub.make_lock(asker(web), TINY.name)
    web.replies |= {LISTED: web.replies[INFO], CHECK: Reply(body=b"{}")}
    web.asked.clear()
    return made


def changed(web: Site, **facts: object) -> None:
    """The Hub lists the first file of the weights otherwise, or not at all."""
    good = web.replies[LISTED]
    assert isinstance(good, Reply)
    info = json.loads(good.body)
    [file] = [each for each in info["siblings"] if each["rfilename"].endswith("safetensors")]
    if facts:
        file["lfs"] |= facts
    else:
        info["siblings"].remove(file)
    web.replies[LISTED] = Reply(body=json.dumps(info).encode())


def test_what_is_locked_and_given_is_no_news(web: Site, locked: ModelLock) -> None:
    hub.require(asker(web, TOKEN), locked)
    assert [path for path, _ in web.asked] == [LISTED, CHECK], "no content is fetched"
    web.replies[CHECK] = Reply(404)  # a mirror that knows no such question
    hub.require(asker(web), locked)


@pytest.mark.parametrize(
    ("path", "reply", "said"),
    [
        (CHECK, Reply(403, headers={"X-Error-Code": "GatedRepo"}), "is gated and the token's"),
        (CHECK, Reply(401), "the Hub does not accept the token"),
        (LISTED, Reply(404, headers={"X-Error-Code": "RevisionNotFound"}), "has no revision"),
        (LISTED, Reply(404, headers={"X-Error-Code": "RepoNotFound"}), "is missing, or private"),
    ],
)
def test_what_the_hub_would_refuse_is_told_apart(
    web: Site, locked: ModelLock, path: str, reply: Reply, said: str
) -> None:
    web.replies[path] = reply
    with pytest.raises(SettingsError, match=said):
        hub.require(asker(web, TOKEN), locked)


def test_a_file_that_is_gone_or_other_than_locked_is_named(web: Site, locked: ModelLock) -> None:
    changed(web)
    with pytest.raises(SettingsError, match=r"has no file '.*safetensors' at its locked commit"):
        hub.require(asker(web), locked)


def test_other_bytes_than_locked_are_named(web: Site, locked: ModelLock) -> None:
    changed(web, sha256="0" * 64)
    with pytest.raises(SettingsError, match=r"'.*safetensors' is not as in its lock"):
        hub.require(asker(web), locked)


def test_a_hub_that_is_down_is_not_a_refusal(web: Site, locked: ModelLock) -> None:
    web.replies[LISTED] = Reply(503)
    with pytest.raises(http.Unreachable):
        hub.require(asker(web), locked)
