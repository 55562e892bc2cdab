"""Images are made without an engine, the same bytes every time, and a real registry takes them."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import requests

from lab.content import ACCESS, TOKENS, hub, images, oci, pip, registry
from lab.content.models import sharded
from lab.supply.ca import ca
from tests.lab_support.standin_server import write_model


def tree(folder: Path, time: int) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/program").write_text("#!/bin/sh\n")
    (folder / "bin/program").chmod(0o755)
    (folder / "bin/link").symlink_to("program")
    os.link(folder / "bin/program", folder / "bin/same")
    for path in folder.rglob("*"):
        os.utime(path, (time, time), follow_symlinks=False)
    return folder


def layer(folder: Path, name: str, time: int = 1) -> oci.Layer:
    out = folder / f"{name}.layer"
    out.mkdir()
    return oci.pack(tree(folder / name, time), out)


def test_the_same_files_make_the_same_layer(tmp_path: Path) -> None:
    first, second = layer(tmp_path, "a", 1_000_000_000), layer(tmp_path, "b", 1_700_000_000)
    assert (first.digest, first.diff_id) == (second.digest, second.diff_id)
    assert oci.load(first.blob.parent) == first


def test_a_layer_holds_the_files_as_roots(tmp_path: Path) -> None:
    blob = layer(tmp_path, "a").blob
    plain = subprocess.run(["zstd", "-dc", blob], check=True, capture_output=True).stdout
    (tmp_path / "tar").write_bytes(plain)
    with tarfile.open(tmp_path / "tar") as tar:
        found = {member.name: member for member in tar}
    assert list(found) == sorted(found)
    assert {member.uid for member in found.values()} == {0}
    assert {member.mtime for member in found.values()} == {oci.EPOCH}
    assert found["bin/program"].mode == 0o755
    assert found["bin/link"].linkname == "program"
    assert found["bin/same"].isreg()


def test_the_digest_changes_with_what_runs(tmp_path: Path) -> None:
    one = layer(tmp_path, "a")
    image = oci.Image((one,), "amd64", {"Entrypoint": ["a"]})
    assert image.digest == oci.digest_of(image.manifest)
    assert image.digest != oci.Image((one,), "arm64", {"Entrypoint": ["a"]}).digest
    config = json.loads(image.config)
    assert config["rootfs"]["diff_ids"] == [one.diff_id]


@pytest.mark.lab
def test_a_registry_takes_an_image_and_tells_its_digest(tmp_path: Path) -> None:
    registry.require()
    image = oci.Image((layer(tmp_path, "a"),), "amd64", {"Entrypoint": ["/bin/program"]})
    store = tmp_path / "store"
    store.mkdir()
    with registry.running(store, ca()) as there:
        assert there.push(image, "test", "lab") == image.digest
        assert there.push(image, "test", "lab") == image.digest  # all blobs are there already
        assert oci.manifest_of(there, "test", image.digest) == json.loads(image.manifest)
    own = tmp_path / "own"
    registry.mirror(store, own)
    with registry.running(own, ca()) as copy:
        assert oci.manifest_of(copy, "test", "lab") == json.loads(image.manifest)


@pytest.mark.lab
def test_the_registry_speaks_only_tls_under_the_labs_name(tmp_path: Path) -> None:
    registry.require()
    with registry.running(tmp_path, ca()) as there:
        url = f"https://127.0.0.1:{there.address[1]}/v2/"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=10)


@pytest.mark.lab
@pytest.mark.slow
def test_huggingface_hub_of_the_image_downloads_a_model(tmp_path: Path) -> None:
    """The client in the image is the one that hosts download with."""
    site = unpacked(oci.load(images.client("amd64")), tmp_path / "client") / pip.SITE
    write_model(sharded(), tmp_path / "repos/lab--sharded")
    cut = {"match": "model-00003", "do": "truncate", "bytes": 300_000, "times": 1, "method": "GET"}
    (tmp_path / "faults").write_text(json.dumps([cut]))
    config = {
        "listen": ["127.0.0.1", 0],
        "directories": [str(tmp_path / "repos")],
        "access": ACCESS,
        "tokens": TOKENS,
        "faults": str(tmp_path / "faults"),
        "log": str(tmp_path / "log"),
    }
    server = hub.serve(config)
    words = ["download", "lab/sharded", "--revision", sharded().commit]
    argv = [sys.executable, "-m", "huggingface_hub.cli.hf", *words]
    env = {
        **os.environ,
        "PYTHONPATH": str(site),
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
    }
    try:
        done = subprocess.run([*argv, "--cache-dir", tmp_path / "hub"], env=env, timeout=120)
    finally:
        server.shutdown()
    assert done.returncode == 0
    snapshot = tmp_path / "hub/models--lab--sharded/snapshots" / sharded().commit
    for path, content in sharded().files.items():
        assert (snapshot / path).read_bytes() == content
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    asked = [line for line in log if "model-00003" in str(line["path"]) and line["method"] == "GET"]
    assert [line["fault"] for line in asked] == ["truncate", ""]


def unpacked(packed: oci.Layer, folder: Path) -> Path:
    folder.mkdir()
    zstd = shutil.which("zstd")
    assert zstd
    subprocess.run(["tar", "-x", "-I", zstd, "-f", packed.blob, "-C", folder], check=True)
    return folder
