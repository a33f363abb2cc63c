"""A certificate authority of the home's own, and the certificate with which its two doors speak TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casemate.core import StorageError
from casemate.keys.files import make_private_folder, read_private, write_private

_AUTHORITY_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)  # the authority, and from when on a given certificate ends soon
_RENEW_SHARE = 3  # the server's certificate is renewed when less than one part in three of its life is left
_SKEW = timedelta(minutes=5)  # clients' clocks may be behind by this much
_AUTHORITY = "Casemate local authority"
_NAMES = ("localhost",)
_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """PEM files: the authority that clients trust, the server's certificate, and its private key (beside the keys)."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """The certificate that both doors show. Times are UTC.

    Args: given: the operator put it there, with its key; another authority made it, and nothing here replaces it.
    """

    path: Path
    since: datetime
    until: datetime
    given: bool

    def is_due(self, now: datetime) -> bool:
        """Whether it is ours to renew, and time to."""
        return not self.given and self.until - now < (self.until - self.since) / _RENEW_SHARE

    def ends_soon(self, now: datetime) -> bool:
        """Whether less than 30 days are left, or a third of a shorter life."""
        return self.until - now < min(_RENEW_BEFORE, (self.until - self.since) / _RENEW_SHARE)


def find_server_certificate(private: Path) -> ServerCertificate | None:
    """What lies beside the keys; None where nothing does, or it cannot be read. Raises: StorageError: open to others."""
    path = private / "server.pem"
    certificate = _load_certificate(path)
    if certificate is None:
        return None
    return ServerCertificate(
        path=path,
        since=certificate.not_valid_before_utc,
        until=certificate.not_valid_after_utc,
        given=_is_given(certificate, private / "server.key"),
    )


def _is_given(certificate: x509.Certificate, key_path: Path) -> bool:
    """Whether another authority made it, and the key beside it is its own."""
    if certificate.issuer == _name(_AUTHORITY) or not key_path.exists():
        return False
    try:
        key = serialization.load_pem_private_key(read_private(key_path), password=None)
    except (ValueError, TypeError):
        return False
    return key.public_key() == certificate.public_key()


def init_tls(public: Path, private: Path, *, now: datetime) -> TlsPaths:
    """Make or renew authority and certificate; what fits together stays until its time to be renewed, and what the operator
    put there for ever.

    The certificates that count lie beside the keys; the home gets copies, so that nobody slips in another authority.

    Args: public: folder of the home for certificates. private: folder beside the keys for private keys.
    Raises: StorageError: a private key is missing, broken, or open to others.
    """
    make_private_folder(private)
    make_private_folder(public)
    authority_key, authority = _authority(private, now)
    server = _server(private, authority_key, authority, now)
    paths = TlsPaths(public / "ca.pem", public / "server.pem", private / "server.key")
    _publish(paths.authority, _pem(authority))
    _publish(paths.certificate, _pem(server))
    return paths


def _authority(folder: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The authority's key and certificate; renewed under the same key, so that older server certificates go on."""
    key_path, path = folder / "ca.key", folder / "ca.pem"
    if not key_path.exists():
        if path.exists():
            raise StorageError(
                f"The key file {key_path} is missing: restore it from its copy.", code="key-file-missing"
            )
        write_private(key_path, _private_pem(ec.generate_private_key(ec.SECP256R1())))
    key = _load_key(key_path)
    certificate = _load_certificate(path)
    if certificate is None or not _fits(certificate, key, now):
        name = _name(_AUTHORITY)
        certificate = (
            _builder(name, name, key.public_key(), now, now + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(_only_local(), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(path, _pem(certificate))
    return key, certificate


def _server(
    folder: Path, signer: ec.EllipticCurvePrivateKey, authority: x509.Certificate, now: datetime
) -> x509.Certificate:
    key_path, path = folder / "server.key", folder / "server.pem"
    certificate = _load_certificate(path)
    if certificate and _is_given(certificate, key_path):
        return certificate
    if certificate and key_path.exists() and _fits(certificate, _load_key(key_path), now, share=_RENEW_SHARE):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError):
            pass
        else:
            return certificate
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    until = min(now + _SERVER_LIFE, authority.not_valid_after_utc)
    certificate = (
        _builder(_name("casemate"), authority.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(key_path, _private_pem(key))  # a crash before the next line leaves a pair that does not fit
    write_private(path, _pem(certificate))
    return certificate


def _fits(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: datetime, *, share: int = 0) -> bool:
    """Of this key, valid now, and for longer than the time in which it is renewed: 30 days, or this share of its life."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return (
        certificate.public_key() == key.public_key()
        and certificate.not_valid_before_utc <= now
        and certificate.not_valid_after_utc - now >= (life / share if share else _RENEW_BEFORE)
    )


def _load_certificate(path: Path) -> x509.Certificate | None:
    """None where it is missing or broken: it can be made again, unlike a key."""
    try:
        return x509.load_pem_x509_certificate(read_private(path)) if path.exists() else None
    except ValueError:
        return None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"The key file {path} is broken: restore it from its copy.", code="key-file-broken"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StorageError(f"The key file {path} holds another kind of key.", code="key-file-broken")
    return key


def _publish(path: Path, pem: bytes) -> None:
    if not path.exists() or path.read_bytes() != pem:
        write_private(path, pem)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
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
