"""A certificate authority of the home's own, and the certificate with which its two doors speak TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casemate.core import StorageError
from casemate.keys.files import make_private_folder, read_private, write_private

_AUTHORITY_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)
_SKEW = timedelta(minutes=5)  # clients' clocks may be behind by this much
_NAMES = ("localhost",)
_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """PEM files: the authority that clients trust, the server's certificate, and its private key (beside the keys)."""

    authority: Path
    certificate: Path
    key: Path


def init_tls(public: Path, private: Path, *, now: datetime) -> TlsPaths:
    """Make or renew authority and certificate; what is valid for 30 days more stays.

    Args: public: folder of the home for certificates. private: folder beside the keys for private keys.
    Raises: StorageError: a private key is missing, broken, or open to others.
    """
    make_private_folder(private)
    public.mkdir(mode=0o700, exist_ok=True)
    paths = TlsPaths(public / "ca.pem", public / "server.pem", private / "server.key")
    if not paths.authority.exists():
        _make_authority(paths.authority, private / "ca.key", now)
    if not _is_fresh(paths.certificate, now) or not paths.key.exists():
        _make_server(paths, private / "ca.key", now)
    return paths


def _make_authority(path: Path, key_path: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Casemate local authority")
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(_only_local(), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, _private_pem(key))
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(paths: TlsPaths, authority_key: Path, now: datetime) -> None:
    authority = x509.load_pem_x509_certificate(paths.authority.read_bytes())
    signer = serialization.load_pem_private_key(read_private(authority_key), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise StorageError(f"{authority_key} holds another kind of key.", code="key-file-broken")
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    certificate = (
        _builder(_name("casemate"), authority.subject, key.public_key(), now, _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(paths.key, _private_pem(key))
    write_private(paths.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _is_fresh(path: Path, now: datetime) -> bool:
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc - now > _RENEW_BEFORE


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _only_local() -> x509.NameConstraints:
    """A stolen authority key can speak for this machine only."""
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    permitted += [x509.IPAddress(ipaddress.ip_network(address)) for address in _ADDRESSES]
    return x509.NameConstraints(permitted, None)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
