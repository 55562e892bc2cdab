"""What a bundle may be, what it answers, and how it is collected: over real HTTP, by a real apt."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import bundle, bundle_packages, bundle_parts, bundle_sources, http
from fleet.bundle import Bundle, BundleSettings, Entry
from fleet.bundle_apt import Apt
from fleet.bundle_fetch import Wanted, fetch, save
from fleet.cli import main
from fleet.hub import Hub
from fleet.models import LockedFile, ModelLock
from fleet.problems import SettingsError
from fleet.registry import INDEXES, Registry, digest_of
from lab.supply.deb import Package, build
from lab.supply.keys import keys
from lab.supply.repository import Identity, flat
from tests.fleet.web import Reply, Site, site

BODY = b"0123456789" * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
EMPTY = Bundle(arch="arm64")
HERE = BundleSettings(bundle="/media/bundle")


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as made:
        yield made


def client() -> http.Client:
    waits: list[float] = []
    return http.Client(sleep=waits.append)


def wanted(web: Site, name: str = "packages/a/b.deb", digest: str = DIGEST) -> Wanted:
    return Wanted(name, f"{web.address}/b.deb", len(BODY), digest)


def written(folder: Path, files: dict[str, bytes]) -> Bundle:
    """A bundle with these files."""
    entries = {}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        entries[name] = Entry(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    found = Bundle(arch="arm64", files=entries)
    save(folder, found)
    return found


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\b", "a\nb", ""])
def test_a_name_that_leads_out_of_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    entry = {"size": 1, "sha256": "0" * 64}
    body = {"format": 1, "arch": "arm64", "files": {name: entry}}
    (tmp_path / "bundle.json").write_text(json.dumps(body))
    with pytest.raises(SettingsError) as error:
        bundle.load(tmp_path)
    [line] = error.value.problems
    assert line.startswith(f"{tmp_path}/bundle.json: files") and "\n" not in line


def test_a_link_that_leads_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    found = written(tmp_path / "bundle", {"packages/x": b"x"})
    (tmp_path / "secret").write_text("x")
    (tmp_path / "bundle/packages/x").unlink()
    (tmp_path / "bundle/packages/x").symlink_to("../../secret")
    with pytest.raises(SettingsError, match="found a link or folder"):
        bundle.answer(tmp_path / "bundle", found, "/packages/x")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 2, "arch": "arm64"}', '{"format": 1, "arch": "arm64", "x": 1}'],
)
def test_what_is_no_bundle_is_told_in_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(SettingsError) as error:
        bundle.load(tmp_path)
    assert all(line.startswith(f"{tmp_path}/bundle.json: ") for line in error.value.problems)


def test_check_names_each_file_that_is_not_as_collected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, {"packages/a": b"aa", "packages/b": b"bb", "packages/c": b"cc"})
    assert main(["bundle", "check", str(tmp_path)]) == 0
    (tmp_path / "packages/a").write_bytes(b"ab")
    (tmp_path / "packages/b").unlink()
    assert main(["bundle", "check", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/packages/a: not as bundle.json says",
        f"{tmp_path}/packages/b: No such file or directory; run fleet bundle again",
    ]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("vllm/vllm-openai@sha256:ab", "127.0.0.1:8474/vllm/vllm-openai@sha256:ab"),
        ("nvcr.io/nvidia/vllm@sha256:ab", "127.0.0.1:8474/nvidia/vllm@sha256:ab"),
        ("192.0.2.11:5000/vllm-gb10@sha256:ab", "127.0.0.1:8474/vllm-gb10@sha256:ab"),
        ("localhost/x@sha256:ab", "127.0.0.1:8474/x@sha256:ab"),
        ("127.0.0.1:8474/x@sha256:ab", "127.0.0.1:8474/x@sha256:ab"),
    ],
)
def test_an_image_keeps_path_and_digest(name: str, expected: str) -> None:
    assert bundle.image(name, 8474) == expected


def test_only_what_is_listed_is_answered(tmp_path: Path) -> None:
    commit, blob = "a" * 40, b'{"schemaVersion": 2, "layers": []}'
    digest = digest_of(blob)
    found = written(
        tmp_path,
        {
            "packages/vendor.example/dists/noble/InRelease": b"signed",
            "packages/vendor.example/pool/a_1~b+c.deb": b"deb",
            f"models/org--name/{commit}/sub/model.safetensors": b"weights",
            f"image/blobs/sha256/{digest[7:]}": blob,
            "locks/org--name.yaml": b"",
        },
    )

    def answered(url: str) -> tuple[bytes, dict[str, str]]:
        path, headers = bundle.answer(tmp_path, found, url) or (None, {})
        return path.read_bytes() if path else b"", headers

    assert answered("/packages/vendor.example/dists/noble/InRelease")[0] == b"signed"
    assert answered("/packages/vendor.example/pool/a_1%7eb%2bc.deb")[0] == b"deb"
    content, headers = answered(f"/hub/org/name/resolve/{commit}/sub/model.safetensors")
    assert content == b"weights" and headers["X-Repo-Commit"] == commit
    assert headers["ETag"] == f'"{hashlib.sha256(b"weights").hexdigest()}"'
    content, headers = answered(f"/v2/org/name/manifests/{digest}")
    assert content == blob and headers["Docker-Content-Digest"] == digest
    assert headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
    assert answered(f"/v2/org/name/blobs/{digest}")[0] == blob
    for url in (
        "/", "", "/bundle.json", "/locks/org--name.yaml", "/v2/", "/v2/x/manifests/latest",
        "/packages/../bundle.json", "/packages/%2e%2e/bundle.json", "/hub/org/name/resolve/main/x",
        "/packages/vendor.example", f"/hub/../../resolve/{commit}/x", "http://[",
    ):  # fmt: skip
        assert answered(url) == (b"", {}), url


@pytest.mark.parametrize(
    "content", [b"\xff\x00", b"[" * 99_999, b" " * (5 << 20) + b"{}"], ids=["no", "deep", "large"]
)
def test_a_blob_that_is_no_manifest_is_not_read_as_one(tmp_path: Path, content: bytes) -> None:
    digest = digest_of(content)
    found = written(tmp_path, {f"image/blobs/sha256/{digest[7:]}": content})
    assert bundle.answer(tmp_path, found, f"/v2/x/manifests/{digest}") is None
    assert bundle.answer(tmp_path, found, f"/v2/x/blobs/{digest}") is not None


def test_apt_reads_the_bundle_and_trusts_whom_it_trusted() -> None:
    [one, two] = bundle_sources.read(bundle_packages.base_sources("amd64"), "test")
    text = bundle.apt_source(HERE, one)
    assert "URIs: http://127.0.0.1:8474/packages/archive.ubuntu.com/ubuntu/\n" in text
    assert f"Signed-By: {bundle_packages.UBUNTU_KEYRING}\n" in text
    assert text.endswith("By-Hash: no\nLanguages: none\nTargets: Packages\n")
    assert "noble-security" in two


@pytest.mark.parametrize(
    "more",
    [
        "Trusted: yes",
        "Trusted: ",
        "Allow-Insecure: yes",
        "Signed-By:",
        "Signed-By: /tmp/key.gpg",
        "Signed-By: /usr/share/keyrings/../../../tmp/key",
        "URIs: file:/tmp/x/",
        "URIs: https://a.example/ copy:/x/",
        " -----BEGIN PGP PUBLIC KEY BLOCK-----",
        "Include: /etc/passwd",
        "Types: deb-src",
    ],
)
def test_a_bundle_cannot_say_whom_apt_trusts(tmp_path: Path, more: str) -> None:
    base = (
        "Types: deb\nURIs: http://a.example/\nSuites: noble\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/a.gpg\n"
    )
    key = more.partition(":")[0]
    lines = [line for line in base.splitlines() if not line.startswith(f"{key}:")]
    for text in ("\n".join([*lines, more, ""]), base + "\n" + "\n".join([*lines, more, ""])):
        body = {"format": 1, "arch": "arm64", "sources": [text]}
        (tmp_path / "bundle.json").write_text(json.dumps(body))
        with pytest.raises(SettingsError, match=r"allowed: an apt source of Types, URIs"):
            bundle.load(tmp_path)
    good = {"format": 1, "arch": "arm64", "sources": [base]}
    (tmp_path / "bundle.json").write_text(json.dumps(good))
    assert bundle.load(tmp_path).sources == (base,)


def test_a_person_s_sources_are_read_in_one_form() -> None:
    text = (
        "# mine\nEnabled: no\nTypes: deb\nURIs: http://x.example/\nSuites: a\n\n\n"
        "Types:  deb\nURIs: http://a.example/\nSuites: noble  noble-updates\n"
        "Signed-By: /usr/share/keyrings/a.gpg\n"
    )
    assert bundle_sources.read(text, "mine") == (
        "Types: deb\nURIs: http://a.example/\nSuites: noble noble-updates\n"
        "Signed-By: /usr/share/keyrings/a.gpg\n",
    )


def test_what_a_bundle_lacks_is_told(tmp_path: Path) -> None:
    lock = ModelLock(
        repo="org/name",
        revision="a" * 40,
        files=(LockedFile(path="model.bin", size=len(BODY), sha256=DIGEST),),
    )
    image = f"127.0.0.1:8474/x@sha256:{DIGEST}"
    assert bundle.lacking(tmp_path, EMPTY, (lock,), image) == [
        f"{tmp_path}: lacks image sha256:{DIGEST[:12]}; add it with: fleet bundle {tmp_path}",
        f"{tmp_path}: lacks org/name: model.bin as locked; add it with: fleet bundle {tmp_path}",
    ]
    entry = Entry(size=len(BODY), sha256=DIGEST)
    files = {f"image/blobs/sha256/{DIGEST}": entry, f"models/org--name/{'a' * 40}/model.bin": entry}
    assert bundle.lacking(tmp_path, Bundle(arch="arm64", files=files), (lock,), image) == []


def test_a_download_goes_on_where_it_broke_off(web: Site, tmp_path: Path) -> None:
    web.replies["/b.deb"] = [Reply(503), Reply(206, BODY[4000:])]
    part = tmp_path / "packages/a/b.deb.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:4000])
    found = fetch(client(), tmp_path, EMPTY, "packages", [wanted(web)])
    assert found == {"packages/a/b.deb": Entry(size=len(BODY), sha256=DIGEST)}
    assert (tmp_path / "packages/a/b.deb").read_bytes() == BODY and not part.exists()
    assert [headers.get("Range") for _, headers in web.asked] == ["bytes=4000-"] * 2


def test_what_lies_there_is_not_fetched_again(web: Site, tmp_path: Path) -> None:
    web.replies["/b.deb"] = Reply(body=BODY)
    found = fetch(client(), tmp_path, EMPTY, "packages", [wanted(web)])
    known = EMPTY.model_copy(update={"files": found})
    assert fetch(client(), tmp_path, known, "packages", [wanted(web)]) == found
    assert fetch(client(), tmp_path, EMPTY, "packages", [wanted(web)]) == found
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "reply, said",
    [
        (Reply(body=bytes(len(BODY))), "not the bytes that its sha256 promises"),
        (Reply(body=BODY + b"more"), f"sent more than {len(BODY)} bytes"),
        (Reply(body=BODY[:-1]), "broke off (ConnectionError), tried 4 times"),
        (Reply(404), "cannot be had: HTTP 404"),
        (Reply(503), "broke off (ConnectionError), tried 4 times"),
    ],
)
def test_what_is_not_as_promised_stays_out(
    web: Site, tmp_path: Path, reply: Reply, said: str
) -> None:
    web.replies["/b.deb"] = reply
    with pytest.raises(SettingsError) as error:
        fetch(client(), tmp_path, EMPTY, "packages", [wanted(web)])
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "packages/a/b.deb").exists()


def test_an_image_is_taken_for_one_platform_and_keeps_the_digest_of_its_index(
    web: Site, tmp_path: Path
) -> None:
    layer, config = b"layer", b'{"architecture": "arm64", "os": "linux"}'
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": digest_of(config), "size": len(config)},
            "layers": [{"digest": digest_of(layer), "size": len(layer)}],
        }
    ).encode()
    platforms = [("amd64", digest_of(b"another")), ("arm64", digest_of(manifest))]
    entries = [{"digest": d, "platform": {"os": "linux", "architecture": a}} for a, d in platforms]
    index = json.dumps({"mediaType": INDEXES[0], "manifests": entries}).encode()
    for body, kind in (
        (index, "manifests"),
        (manifest, "manifests"),
        (layer, "blobs"),
        (config, "blobs"),
    ):
        web.replies[f"/v2/org/x/{kind}/{digest_of(body)}"] = Reply(body=body)
    name = f"{web.address.partition('://')[2]}/org/x@{digest_of(index)}"
    found = bundle_parts.image(Registry(client()), tmp_path, EMPTY, name)
    blobs = {name for name in found if name.startswith(bundle.BLOBS)}
    assert blobs == {f"{bundle.BLOBS}/{digest_of(x)[7:]}" for x in (index, manifest, layer, config)}
    known = Bundle(arch="arm64", images=(name,), files=found)
    bundle_parts.index(tmp_path, known)
    [listed] = json.loads((tmp_path / "image/index.json").read_text())["manifests"]
    assert (listed["digest"], listed["mediaType"]) == (digest_of(index), INDEXES[0])


def test_a_token_that_ends_during_a_long_image_is_asked_for_again(
    web: Site, tmp_path: Path
) -> None:
    config = b'{"architecture": "arm64", "os": "linux"}'
    part = {"digest": digest_of(config), "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "config": part, "layers": []}).encode()
    realm = {"WWW-Authenticate": f'Bearer realm="{web.address}/token",service="x"'}
    blob, top = (f"/v2/x/blobs/{digest_of(config)}", f"/v2/x/manifests/{digest_of(manifest)}")
    web.replies["/token?service=x&scope=repository%3Ax%3Apull"] = [
        Reply(body=b'{"token": "first"}'),
        Reply(body=b'{"token": "second"}'),
    ]
    refused, given = Reply(401, headers=realm), Reply(body=manifest)
    web.replies[top] = [refused, given, refused, given]
    web.replies[blob] = [Reply(401), Reply(body=config)]
    name = f"{web.address.partition('://')[2]}/x@{digest_of(manifest)}"
    bundle_parts.image(Registry(client()), tmp_path, EMPTY, name)
    told = [headers.get("Authorization") for path, headers in web.asked if path == blob]
    assert told == ["Bearer first", "Bearer second"]


def test_a_registry_that_sends_another_manifest_is_refused(web: Site, tmp_path: Path) -> None:
    name = f"{web.address.partition('://')[2]}/x@sha256:{DIGEST}"
    web.replies[f"/v2/x/manifests/sha256:{DIGEST}"] = Reply(body=b"{}")
    with pytest.raises(SettingsError, match="sent another manifest"):
        bundle_parts.image(Registry(client()), tmp_path, EMPTY, name)


def test_weights_come_by_the_lock_and_the_token_is_not_kept(web: Site, tmp_path: Path) -> None:
    lock = ModelLock(
        repo="org/name",
        revision="a" * 40,
        files=(LockedFile(path="sub/model.bin", size=len(BODY), sha256=DIGEST),),
    )
    web.replies[f"/org/name/resolve/{'a' * 40}/sub/model.bin"] = Reply(body=BODY)
    token = "hf_thisisasecrettokenxyz"
    found = bundle_parts.model(Hub(web.address, token, client()), tmp_path, EMPTY, lock)
    assert set(found) == {f"models/org--name/{'a' * 40}/sub/model.bin", "locks/org--name.yaml"}
    assert web.asked[0][1]["Authorization"] == f"Bearer {token}"
    assert not any(token.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.skipif(not shutil.which("apt-ftparchive"), reason="apt-utils is not installed")
def test_packages_come_with_all_they_depend_on(web: Site, tmp_path: Path) -> None:
    """From nothing installed, at the wanted version, by signed indices."""
    repository, folder, work = tmp_path / "repository", tmp_path / "bundle", tmp_path / "work"
    repository.mkdir()
    build(
        [
            Package("wanted", "2:1.0-1", "arm64", "old", {"Depends": "needed"}),
            Package("wanted", "2:1.1-1", "arm64", "new", {"Depends": "needed, unwanted"}),
            Package("needed", "1.0rc", "all", "dependency"),
            Package("unwanted", "1", "arm64", "no dependency of ours"),
        ],
        repository,
    )
    flat(repository, Identity("ubuntu", "Ubuntu", "Ubuntu"), keys())
    web.replies |= {f"/{p.name}": Reply(body=p.read_bytes()) for p in repository.iterdir()}
    apt = apt_in(work)
    key = keys().binary("ubuntu")
    stanza = f"Types: deb\nURIs: {web.address}/\nSuites: /\nSigned-By: {key}\n"
    (work / "sources/base.sources").write_text(stanza)
    found = bundle_packages.indices(apt, client(), folder, EMPTY)
    listed = bundle_packages.chosen(apt, [{"wanted": "2:1.0*"}])
    found |= fetch(client(), folder, EMPTY, "packages", listed)
    host = web.address.partition("://")[2]
    names = {name.removeprefix(f"packages/{host}/").removeprefix("./") for name in found}
    assert names >= {"InRelease", "wanted_1.0-1_arm64.deb", "needed_1.0rc_all.deb"}
    assert not any("unwanted" in name or "1.1" in name for name in names)
    assert any(name.startswith("Packages") for name in names)


def apt_in(work: Path) -> Apt:
    for part in ("sources", "preferences", "state", "lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    (work / "status").touch()
    return Apt(work, "arm64", work / "status", None)
