"""Our own certificate authority: an authority, and servers' certificates that it signs. Pure.

Everything is PEM text. Keys are P-256; an authority lives ten years, a server's certificate 397
days (what clients still accept) and is due for another one 60 days before its end.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
DUE_DAYS = 60
_EARLIER = datetime.timedelta(hours=1)  # for clients whose clock is behind


@dataclass(frozen=True)
class Authority:
    """Certificate and private key, PEM."""

    certificate: str
    key: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, upper-case hex with colons, as browsers show it."""
        digest = x509.load_pem_x509_certificate(self.certificate.encode()).fingerprint(
            hashes.SHA256()
        )
        return digest.hex(":").upper()


def create(name: str = "vllm-fleet") -> Authority:
    """A new authority; it signs servers' certificates and no other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    usage = _usage(sign_certificates=True)
    builder = (
        _builder(_name(name), AUTHORITY_DAYS)
        .issuer_name(_name(name))
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return Authority(_text(builder.sign(key, hashes.SHA256())), _key_text(key))


def issue(authority: Authority, names: Sequence[str]) -> str:
    """A server's certificate for ``names`` (host names and addresses), and its key; one text."""
    signer = _load_key(authority.key)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        _builder(_name(names[0]), SERVER_DAYS)
        .issuer_name(issuer.subject)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(above, critical=False)
    )
    return _text(builder.sign(signer, hashes.SHA256())) + _key_text(key)


def fits(pem: str, authority: Authority, names: Sequence[str], now: datetime.datetime) -> bool:
    """Whether the certificate in ``pem`` is the authority's, for ``names``, and not yet due."""
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
        issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
        found.verify_directly_issued_by(issuer)
        inside = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    due = found.not_valid_after_utc - datetime.timedelta(days=DUE_DAYS)
    return now < due and list(inside) == _alternatives(names)


def sound(authority: Authority) -> bool:
    """Whether certificate and key can be read and belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(authority.certificate.encode())
        return certificate.public_key() == _load_key(authority.key).public_key()
    except (ValueError, TypeError):
        return False


def _builder(subject: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    kind = PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode()


def _load_key(text: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("allowed: an elliptic-curve key, as 'fleet ca' makes it")
    return key
