"""``fleet ca``: the authority whose certificates hosts show, and one for another server."""

from __future__ import annotations

import argparse
from typing import Any

from fleet import vault
from fleet.access import AccessSettings
from fleet.serving import parse


def add(commands: Any) -> None:
    """Add the command to ``commands``."""
    parser = commands.add_parser(
        "ca",
        help="our certificate authority; with names, a server's certificate",
        description="Makes the authority where there is none. With NAMEs (host names, addresses) "
        "also a certificate for that server, named by the first; deploy.py does it for hosts.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--secrets-dir", default="secrets", metavar="FOLDER")
    parser.set_defaults(run=_ca)


def _ca(options: argparse.Namespace) -> int:
    given = {"secrets_dir": options.secrets_dir, "api_names": options.names}
    words = {"secrets_dir": "--secrets-dir", "api_names": "NAME"}
    access = parse(AccessSettings, given, lambda key: words.get(key, key))
    found = vault.make_signer(access)
    print(f"certificate for clients: {vault.certificates(access)}")
    print(f"SHA-256 fingerprint: {found.fingerprint}")
    if options.names:
        vault.make_certificate(access, options.names[0], options.names)
        print(f"certificate and key: {vault.server_path(access, options.names[0])}")
    return 0
