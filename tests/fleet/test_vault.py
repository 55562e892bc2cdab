"""Keys and certificates on the control side, and what HAProxy is told of them."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from fleet import authority, cli, haproxy, vault
from fleet.access import AccessSettings
from fleet.problems import SettingsError
from fleet.serving import parse

NAMES = ["spark-01", "192.0.2.11", "api.example"]


@pytest.fixture
def access(tmp_path: Path) -> AccessSettings:
    return AccessSettings(secrets_dir=str(tmp_path / "secrets"))


def test_a_key_is_made_once_and_only_its_owner_may_read_it(access: AccessSettings) -> None:
    assert vault.keys(access) == []
    [key] = vault.make_key(access)
    assert len(key) == 43 and vault.make_key(access) == [key] == vault.keys(access)
    path = vault.key_path(access)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_folder_of_secrets_is_kept_out_of_version_control(access: AccessSettings) -> None:
    vault.make_certificate(access, "spark-01", ["spark-01"])
    folder = Path(access.secrets_dir)
    subprocess.run(["git", "init", "-q", str(folder.parent)], check=True)
    words = ["git", "-C", str(folder.parent), "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize(
    "text",
    ["", "\n", "short\n", "has spaces in it that are many\n", "ä" * 40, "x" * 30 + "\nshort\n"],
)
def test_a_file_without_a_key_is_refused_and_not_repeated(
    access: AccessSettings, text: str
) -> None:
    vault.write(vault.key_path(access), text)
    with pytest.raises(SettingsError) as refused:
        vault.keys(access)
    [line] = refused.value.problems
    assert "allowed: a line for each key" in line and (not text.strip() or text not in line)


def test_a_file_that_others_may_read_is_refused(access: AccessSettings) -> None:
    vault.make_key(access)
    vault.key_path(access).chmod(0o640)
    with pytest.raises(SettingsError, match="which others may read; allowed: mode 0600"):
        vault.keys(access)


def test_a_named_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    access = AccessSettings(api_key_file=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="No such file"):
        vault.make_key(access)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_rotation_goes_on_with_its_own_key(access: AccessSettings, overlap: bool) -> None:
    assert vault.next_key(access, make=False) is None
    [old] = vault.make_key(access)
    coming = vault.next_key(access, make=True)
    assert vault.next_key(access, make=True) == coming != old
    assert vault.keys(access) == [old]
    for _ in range(2):
        vault.promote(access, overlap=overlap)
        assert vault.keys(access) == ([coming, old] if overlap else [coming])
    assert vault.next_key(access, make=False) is None


def test_hosts_get_what_keys_are_compared_by_and_no_key() -> None:
    text = haproxy.key_hashes(["a" * 30, "b" * 30])
    assert text.splitlines()[0] == hashlib.sha256(b"a" * 30).hexdigest().upper()
    assert "a" * 30 not in text and len(text.splitlines()) == 2


def test_a_certificate_is_kept_until_it_does_not_fit(access: AccessSettings) -> None:
    assert vault.certificate(access, "spark-01", NAMES) is None
    made = vault.make_certificate(access, "spark-01", NAMES)
    assert vault.make_certificate(access, "spark-01", NAMES) == made
    assert vault.certificate(access, "spark-01", NAMES[:2]) is None
    signer = vault.make_signer(access)
    now = datetime.datetime.now(datetime.UTC)
    assert authority.fits(made, signer, NAMES, now)
    assert not authority.fits(made, signer, NAMES, now + datetime.timedelta(days=340))
    assert not authority.fits(made, authority.create(), NAMES, now)
    mode = stat.S_IMODE(vault.server_path(access, "spark-01").stat().st_mode)
    assert mode == 0o600


def test_clients_that_look_closely_take_the_certificate(access: AccessSettings) -> None:
    """Python's own strict check wants all that RFC 5280 wants."""
    made = vault.make_certificate(access, "spark-01", NAMES)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(vault.server_path(access, "spark-01"))
    client = ssl.create_default_context(cadata=vault.certificates(access).read_text())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in NAMES:
        _shake_hands(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(client, server, "spark-02")
    names = x509.load_pem_x509_certificate(made.encode()).extensions
    inside = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert inside.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(NAMES[1])]


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_the_command_makes_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ca", "gateway.example", "192.0.2.1", "--secrets-dir", str(tmp_path / "s")]
    assert cli.main(words) == 0 and cli.main(words) == 0
    first, second = capsys.readouterr().out.splitlines()[:3], None
    assert "SHA-256 fingerprint: " in first[1] and second is None
    assert (tmp_path / "s/servers/gateway.example.pem").exists()
    (tmp_path / "s/ca.key").write_text("no key\n")
    assert cli.main(words) == 1
    assert "put them back, or take both away" in capsys.readouterr().err


def test_a_name_never_leads_out_of_the_folder(access: AccessSettings) -> None:
    for name in ("../../etc/x", "..", "a/b", "\x00", ".hidden", ""):
        path = vault.server_path(access, name)
        assert path.parent == Path(access.secrets_dir) / "servers" and path.name[0] != "."


@given(st.dictionaries(st.sampled_from(sorted(AccessSettings.model_fields)), st.text()))
def test_any_text_in_any_setting_is_taken_or_refused_in_one_line(data: dict[str, str]) -> None:
    try:
        access = parse(AccessSettings, data, lambda key: "group_data/all.py")
    except SettingsError as error:
        assert all(line.isprintable() for line in error.problems)
    else:
        assert _configuration(access)


LIST = st.lists(st.text(max_size=40), min_size=1, max_size=4)


@given(LIST, LIST, LIST)
def test_no_list_of_texts_breaks_out_of_the_configuration(
    paths: list[str], networks: list[str], names: list[str]
) -> None:
    given_lists = {"api_paths": paths, "metrics_sources": networks, "api_names": names}
    try:
        access = parse(AccessSettings, given_lists, lambda key: "--data")
    except SettingsError:
        return
    text = _configuration(access)
    assert len(text.splitlines()) == len(_configuration(AccessSettings()).splitlines()) + 2


def _configuration(access: AccessSettings) -> str:
    return haproxy.render("api", access=access, address="0.0.0.0", port=1, backend=2)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/v1/../x",
        "v1",
        "/v1/x y",
        "/v1/\n",
        "/",
        "/sleep",
        "/v1/x{}",
        "/pause/x",
        "/v1",
        "/v1/load_lora_adapter",
        "/collective_rpc",
        "/update_weights",
    ],
)
def test_a_path_that_steers_or_climbs_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match="none that steers"):
        parse(AccessSettings, {"api_paths": [path]}, lambda key: "--data")


def test_nothing_is_left_half_written(access: AccessSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        vault.write(tmp_path / "file" / "below", "x")
    vault.make_key(access)
    assert sorted(os.listdir(access.secrets_dir)) == [".gitignore", "api_key"]
