"""The Hub stand-in answers, refuses and fails as the Hub would, over HTTP."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lab.content import ACCESS, TOKENS, hub
from lab.content.models import sharded, tiny
from lab.supply.server import Server
from tests.lab_support.standin_server import write_model

TIMEOUT = 10


class Web:
    """A Hub on loopback with the lab's repositories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("lab/tiny", "lab/gated", "lab/private"):
            write_model(tiny(), folder / "repos" / name.replace("/", "--"))
        write_model(sharded(), folder / "repos/lab--sharded")
        config = {
            "listen": ["127.0.0.1", 0],
            "directories": [str(folder / "extra"), str(folder / "repos")],
            "access": ACCESS,
            "tokens": TOKENS,
            "faults": str(folder / "faults.json"),
            "log": str(folder / "log"),
        }
        self.server: Server = hub.serve(config)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def get(self, path: str, token: str = "", **headers: str) -> requests.Response:
        own = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(
            self.url + path, headers={**headers, **own}, timeout=TIMEOUT, allow_redirects=False
        )

    def faults(self, *rules: dict[str, object]) -> None:
        part = self.folder / "faults.part"
        part.write_text(json.dumps(rules))
        part.replace(self.folder / "faults.json")

    def logged(self) -> dict[str, object]:
        """The first line of the log; it is written after the last byte went out."""
        log = self.folder / "log"
        for _ in range(100):
            if log.exists() and log.read_text().endswith("\n"):
                break
            time.sleep(0.02)
        found: dict[str, object] = json.loads(log.read_text().splitlines()[0])
        return found


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


SHARD = "model-00003-of-00014.safetensors"


def test_model_info_lists_every_file_with_its_hashes(web: Web) -> None:
    repo = sharded()
    info = web.get(f"/api/models/lab/sharded/revision/{repo.commit}?blobs=true").json()
    assert info["sha"] == repo.commit and info["gated"] is False
    told = {each["rfilename"]: each for each in info["siblings"]}
    assert {path: each["size"] for path, each in told.items()} == {
        path: len(content) for path, content in repo.files.items()
    }
    assert told[SHARD]["lfs"]["sha256"] == hashlib.sha256(repo.files[SHARD]).hexdigest()
    assert "lfs" not in told["config.json"]


def test_the_tree_comes_in_pages(web: Web) -> None:
    path = "/api/models/lab/sharded/tree/main?recursive=true&expand=false&limit=10"
    paths: list[str] = []
    for _ in range(5):
        answer = web.get(path)
        paths += [each["path"] for each in answer.json() if each["type"] == "file"]
        if "next" not in answer.links:
            break
        path = answer.links["next"]["url"].removeprefix(web.url)
    assert sorted(paths) == sorted(sharded().files)


def test_files_come_whole_and_in_ranges(web: Web) -> None:
    content = sharded().files[SHARD]
    path = f"/lab/sharded/resolve/{sharded().commit}/{SHARD}"
    whole = web.get(path)
    assert whole.content == content
    assert whole.headers["X-Repo-Commit"] == sharded().commit
    assert whole.headers["X-Linked-Etag"].strip('"') == hashlib.sha256(content).hexdigest()
    assert int(whole.headers["X-Linked-Size"]) == len(content)
    part = web.get(path, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(content)}"
    assert web.get(path, Range=f"bytes={len(content)}-").status_code == 416
    assert web.get(path, Range="bytes=-10").content == content[-10:]


def test_the_hubs_own_name_redirects_lfs_files_to_its_cdn(web: Web) -> None:
    path = f"/lab/sharded/resolve/main/{SHARD}"
    answer = web.get(path, Host="huggingface.co")
    assert answer.status_code == 302
    where = answer.headers["Location"]
    assert where.startswith("https://cdn-lfs.huggingface.co/lfs/")
    assert web.get("/lfs/" + where.rpartition("/")[2]).content == sharded().files[SHARD]


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("/api/models/lab/none/revision/main", "", 401, "RepoNotFound"),
        ("/api/models/lab/none/revision/main", "hf_lab_reader", 404, "RepoNotFound"),
        ("/api/models/lab/private/revision/main", "", 401, "RepoNotFound"),
        ("/api/models/lab/private/revision/main", "hf_lab_stranger", 404, "RepoNotFound"),
        ("/api/models/lab/private/revision/main", "hf_lab_reader", 200, None),
        ("/api/models/lab/gated/revision/main", "", 200, None),
        ("/api/models/lab/gated/auth-check", "", 401, "GatedRepo"),
        ("/api/models/lab/gated/auth-check", "hf_lab_stranger", 403, "GatedRepo"),
        ("/api/models/lab/gated/auth-check", "hf_lab_reader", 200, None),
        ("/lab/gated/resolve/main/config.json", "hf_lab_stranger", 403, "GatedRepo"),
        ("/lab/gated/resolve/main/config.json", "hf_lab_reader", 200, None),
        (f"/api/models/lab/tiny/revision/{'0' * 40}", "", 404, "RevisionNotFound"),
        ("/lab/tiny/resolve/main/none.bin", "", 404, "EntryNotFound"),
    ],
)
def test_refusals(web: Web, path: str, token: str, status: int, code: str | None) -> None:
    answer = web.get(path, token)
    assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, code)


def test_a_wrong_token_is_told_as_such(web: Web) -> None:
    answer = web.get("/api/models/lab/tiny/revision/main", "hf_wrong")
    assert answer.status_code == 401
    assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_faults_spoil_as_many_requests_as_told(web: Web) -> None:
    path = f"/lab/sharded/resolve/main/{SHARD}"
    content = sharded().files[SHARD]
    web.faults({"match": SHARD, "do": "status", "status": 503, "times": 2})
    assert [web.get(path).status_code for _ in range(3)] == [503, 503, 200]
    web.faults({"match": SHARD, "do": "corrupt", "times": 1})
    wrong = web.get(path).content
    assert wrong != content and len(wrong) == len(content)
    web.faults({"match": SHARD, "do": "truncate", "bytes": 5000, "times": 1})
    with pytest.raises(requests.exceptions.RequestException):
        web.get(path)
    web.faults({"match": SHARD, "do": "reset", "bytes": 5000, "times": 1})
    with pytest.raises(requests.exceptions.RequestException, match="reset by peer"):
        web.get(path)
    web.faults({"match": SHARD, "do": "drop", "times": 1})
    with pytest.raises(requests.exceptions.ConnectionError):
        web.get(path)
    assert web.get(path).content == content


def test_a_slow_transfer_takes_its_time(web: Web) -> None:
    web.faults({"match": "config.json", "do": "slow", "rate": 1500})
    assert web.get("/lab/tiny/resolve/main/config.json").status_code == 200
    took = web.logged()["seconds"]
    assert isinstance(took, float) and took > 0.3


def test_the_log_tells_who_asked_for_what(web: Web) -> None:
    asked = {"X-Forwarded-For": "198.18.77.12"}
    web.get("/lab/tiny/resolve/main/config.json", "hf_lab_reader", **asked)
    line = web.logged()
    assert line["client"] == "198.18.77.12"
    assert (line["status"], line["token"], line["fault"]) == (200, True, "")
    assert line["bytes"] == len(tiny().files["config.json"])


def test_a_repository_put_there_later_is_served(web: Web) -> None:
    place = web.folder / "extra/org--new"
    place.mkdir(parents=True)
    (place / "a.txt").write_text("one")
    before = web.get("/api/models/org/new/revision/main").json()["sha"]
    (place / "b.txt").write_text("two")
    after = web.get("/api/models/org/new/revision/main").json()
    assert after["sha"] != before
    assert [each["rfilename"] for each in after["siblings"]] == ["a.txt", "b.txt"]
