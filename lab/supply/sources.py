"""The files that make a host use this supply: apt's sources and settings, keys, the CA."""

from urllib.parse import urlsplit

from lab.roots import SUITE, mirror
from lab.state import CONTROL
from lab.supply import versions
from lab.supply.ca import Ca
from lab.supply.keys import Keys
from lab.supply.pool import KEYRING as DEBIAN_KEYRING

SIGNERS = ("nvidia", "toolkit", "docker", "dgx", "ubuntu")
UBUNTU_KEYRING = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
PROXY_PORT = 3142
UBUNTU = f"""\
Types: deb
URIs: http://archive.lab/ubuntu
Suites: {versions.DISTRIBUTION}
Components: main restricted universe
Signed-By: {UBUNTU_KEYRING}
"""


def root_files(arch: str, authority: Ca, signing: Keys) -> dict[str, bytes]:
    """Absolute path in a host's root -> content. The root then needs update-ca-certificates."""
    debian = mirror()
    return {
        "/etc/apt/sources.list": b"",  # covers the address the root was built from
        "/etc/apt/sources.list.d/ubuntu.sources": UBUNTU.encode(),
        "/etc/apt/sources.list.d/debian.sources": _everything(debian).encode(),
        "/etc/apt/apt.conf.d/00lab": _settings(debian).encode(),
        UBUNTU_KEYRING: signing.binary("ubuntu").read_bytes(),
        "/usr/local/share/ca-certificates/lab-ca.crt": authority.certificate.read_bytes(),
    }


def _everything(debian: str) -> str:
    """All of Debian through the gate's proxy: off, for what the pool turns out to lack."""
    return (
        f"Enabled: no\nTypes: deb\nURIs: {debian}\nSuites: {SUITE}\nComponents: main\n"
        f"Signed-By: {DEBIAN_KEYRING}\n"
    )


def _settings(debian: str) -> str:
    host = urlsplit(debian).hostname
    return (
        'Acquire::Languages "none";\nDPkg::Options { "--force-unsafe-io"; };\n'
        f'Acquire::http::Proxy::{host} "http://{CONTROL}:{PROXY_PORT}";\n'
    )
