"""Chains of certificates, lists of revoked ones, and a timestamp authority (the `openssl ts` command)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNING = (ExtendedKeyUsageOID.CODE_SIGNING,)


@dataclass
class Issued:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: Issued | None = None

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    start: datetime,
    end: datetime,
    ca: bool = False,
    usages: tuple[x509.ObjectIdentifier, ...] = SIGNING,
    signs: bool = True,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Issued:
    """A certificate; without an issuer, a root."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    above = issuer.certificate.subject if issuer else _named(name)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=signs and not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=not signs,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if usages and not ca:
        critical = ExtendedKeyUsageOID.TIME_STAMPING in usages
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
    return Issued(builder.sign(signer, hashes.SHA256()), key, issuer)


def revoke(issuer: Issued, *serials: int, at: datetime, until: datetime) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(at)
        .next_update(until)
    )
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        )
    return builder.sign(issuer.key, hashes.SHA256())


class TimestampAuthority:
    """Answers RFC 3161 queries with the clock of this machine."""

    def __init__(self, folder: Path, root: Issued, *, start: datetime, end: datetime) -> None:
        self._folder = folder
        issued = issue("clock", root, start=start, end=end, usages=(ExtendedKeyUsageOID.TIME_STAMPING,))
        (folder / "tsa.pem").write_bytes(issued.pem)
        (folder / "tsa.key").write_bytes(issued.key_pem)
        (folder / "serial").write_text("01")
        (folder / "tsa.cnf").write_text(
            "[tsa]\ndefault_tsa = one\n[one]\n"
            f"serial = {folder}/serial\nsigner_cert = {folder}/tsa.pem\nsigner_key = {folder}/tsa.key\n"
            "signer_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256, sha384, sha512\n"
            "ess_cert_id_alg = sha256\n"
        )

    def answer(self, query: bytes) -> bytes:
        (self._folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "answer"]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, timeout=300)
        return (self._folder / "answer").read_bytes()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def around(now: datetime, days: int = 30) -> dict[str, datetime]:
    return {"start": now - timedelta(days=days), "end": now + timedelta(days=days)}
