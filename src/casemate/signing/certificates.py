"""Certificates of signers: a chain to a root that the caller names, at the time of signing, for signing, not revoked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from casemate.core import InputError, VerificationError

MAX_TIMESTAMPS = 8  # tried for one signature
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def load_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Args: what: of what, for the message. Raises: InputError `bad-certificate`: none there, or not PEM."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InputError(f"The {what} holds no certificate in PEM form.", code="bad-certificate") from error


def load_revocations(data: bytes) -> x509.CertificateRevocationList:
    """A list of revoked certificates, PEM or DER. Raises: InputError `bad-certificate`."""
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl
        return load(data)
    except ValueError as error:
        raise InputError("The list of revoked certificates cannot be read.", code="bad-certificate") from error


def check_chain(
    chain: Sequence[x509.Certificate],
    *,
    roots: Sequence[x509.Certificate],
    revoked: Sequence[x509.CertificateRevocationList] = (),
    at: datetime,
    now: datetime,
) -> None:
    """Return when the first of `chain` may sign, and every certificate up to one of `roots` was valid at `at`.

    Args: at: when it signed, proven or now. now: the lists of revoked certificates must be current then. Where there
        are any, each certificate below the root needs one of its issuer, and what was revoked is refused for all time.
    Raises: VerificationError as `check_signer`, `certificate-not-trusted`, `certificate-revoked`, `revocation-unknown`.
    """
    check_signer(chain, at=at)
    leaf = chain[0]
    policy = verification.PolicyBuilder().store(verification.Store(list(roots))).time(at)
    policy = policy.extension_policies(
        ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=verification.ExtensionPolicy.permit_all()
    )
    try:
        path = policy.build_client_verifier().verify(leaf, list(chain[1:])).chain
    except (verification.VerificationError, ValueError) as error:
        raise VerificationError(
            f"The certificate of {_name(leaf)} leads to no root that you named.", code="certificate-not-trusted"
        ) from error
    if revoked:
        for certificate, issuer in pairwise(path):
            _check_revocation(certificate, issuer, revoked, now=now)


def check_signer(chain: Sequence[x509.Certificate], *, at: datetime) -> None:
    """Return when all of `chain` was valid at `at`, and its first may sign. Who issued it is not asked.

    Raises: VerificationError `certificate-expired`, `certificate-usage`.
    """
    for certificate in chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise VerificationError(
                f"The certificate of {_name(certificate)} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d} only: sign again, or show a timestamp from within.",
                code="certificate-expired",
            )
    _check_usage(chain[0])


def proven_time(signature: bytes, timestamps: Iterable[bytes], *, roots: Sequence[x509.Certificate]) -> datetime | None:
    """The earliest time at which an authority under `roots` saw `signature`; None where none did. Source: RFC 3161."""
    from rfc3161_client import VerificationError as BadTimestamp
    from rfc3161_client import VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    verifier = builder.build()
    seen = []
    for data in list(timestamps)[:MAX_TIMESTAMPS]:
        try:
            answer = decode_timestamp_response(data)
            if verifier.verify_message(answer, signature):
                seen.append(answer.tst_info.gen_time.astimezone(UTC))
        except (BadTimestamp, ValueError):
            continue
    return min(seen, default=None)


def subject_of(certificate: x509.Certificate) -> str:
    """Its name, as RFC 4514 writes it."""
    return certificate.subject.rfc4514_string()


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Whom it names: its subject, as RFC 4514 writes it, and every address, URI and host among its other names."""
    found = {subject_of(certificate)}
    other = _extension(certificate, x509.SubjectAlternativeName)
    if other is not None:
        for kind in (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName):
            found |= {str(name) for name in other.get_values_for_type(kind)}
    return frozenset(found)


def _name(certificate: x509.Certificate) -> str:
    return repr(subject_of(certificate)[:120])


def _check_usage(leaf: x509.Certificate) -> None:
    """It says that it is for signatures, and nothing in it says otherwise."""
    usage = _extension(leaf, x509.KeyUsage)
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    for_code = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    constraints = _extension(leaf, x509.BasicConstraints)
    if (
        (usage is None and extended is None)
        or (usage is not None and not usage.digital_signature)
        or (extended is not None and not for_code & set(extended))
        or (constraints is not None and constraints.ca)
        or not isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    ):
        raise VerificationError(
            f"The certificate of {_name(leaf)} is not for signing code: it needs the key usage digitalSignature "
            "or the extended usage codeSigning, an elliptic-curve key, and must be no authority's.",
            code="certificate-usage",
        )


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_revocation(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    revoked: Sequence[x509.CertificateRevocationList],
    *,
    now: datetime,
) -> None:
    current = [one for one in revoked if _is_current(one, issuer, now=now)]
    if not current:
        raise VerificationError(
            f"No current list of {_name(issuer)} says whether {_name(certificate)} was revoked: fetch it anew.",
            code="revocation-unknown",
        )
    if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in current):
        raise VerificationError(f"The certificate of {_name(certificate)} was revoked.", code="certificate-revoked")


def _is_current(one: x509.CertificateRevocationList, issuer: x509.Certificate, *, now: datetime) -> bool:
    key = issuer.public_key()
    try:
        signed = one.issuer == issuer.subject and one.is_signature_valid(key)  # type: ignore[arg-type]
    except (TypeError, ValueError, InvalidSignature):
        return False
    until = one.next_update_utc
    return signed and one.last_update_utc <= now and until is not None and now <= until
