"""Client certificates: one that is named, or those of an authority that bear a name. Source: RFC 8705, section 2.

Whether the client holds the private key is proved by TLS before any of this is asked. A certificate of an authority is
issued by it directly: intermediates are bound themselves.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from casemate.core import AuthError, InputError, Principal
from casemate.iam.access import Access
from casemate.iam.tokens.holders import holder_of
from casemate.iam.tokens.records import CertificateBinding

MAX_PEM = 16384  # characters
_SANS = ("URI:", "DNS:")


def certificate_holder(access: Access, client_id: str, certificate: bytes, now: datetime) -> Principal:
    """The service that a binding names, if this certificate is the one. Args: certificate: DER, from the TLS connection.

    Raises: AuthError: bad-client, revoked-credential, expired-credential.
    """
    binding = access.snapshot.credentials.get(client_id)
    if not isinstance(binding, CertificateBinding) or not certificate:
        raise _not_bound()
    holder = holder_of(access, client_id, now)
    if not _is_bound(binding, certificate, access.instant(now)):
        raise _not_bound()
    return holder


def _is_bound(binding: CertificateBinding, certificate: bytes, now: datetime) -> bool:
    try:
        shown = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return False
    if binding.thumbprint:
        named = hashlib.sha256(certificate).hexdigest() == binding.thumbprint
        return named and shown.not_valid_before_utc <= now <= shown.not_valid_after_utc
    verifier = PolicyBuilder().store(Store([_anchor(binding.anchor)])).time(now).max_chain_depth(0)
    try:
        names = verifier.build_client_verifier().verify(shown, []).subjects
    except VerificationError:
        return False
    return binding.san in {_san(name) for name in names or ()}


def _san(name: x509.GeneralName) -> str:
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"URI:{name.value}"
    return f"DNS:{name.value.lower()}" if isinstance(name, x509.DNSName) else ""


def read_anchor(pem: bytes, *, san: str, now: datetime) -> tuple[str, str]:
    """The PEM to be recorded, and the thumbprint of a certificate that is bound itself (empty for an authority).

    Args: san: `URI:...` or `DNS:...` of an authority's certificates; empty where one certificate is bound.
    Raises: InputError: bad-certificate, bad-san.
    """
    try:
        found = x509.load_pem_x509_certificates(pem) if len(pem) <= MAX_PEM else []
    except ValueError as error:
        raise _bad("it is no PEM") from error
    if len(found) != 1 or b"PRIVATE KEY" in pem:
        raise _bad("the file must hold one certificate and nothing else")
    (certificate,) = found
    if certificate.not_valid_after_utc <= now:
        raise _bad("it has expired")
    text = certificate.public_bytes(Encoding.PEM).decode()
    if not san:
        return text, hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    if not san.startswith(_SANS) or not san.isascii() or not san.isprintable() or len(san) > 300 or "*" in san:
        raise InputError(
            f"{san[:60]!r} is no name of a client: write URI:spiffe://... or DNS:host.example.", code="bad-san"
        )
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise _bad("it is no authority's, so it issues none: leave --san out to bind it itself")
    return text, ""


def anchors_of(access: Access, now: datetime) -> frozenset[str]:
    """PEM of all that TLS should take for a client's anchor now; empty: no client is asked for a certificate."""
    snapshot = access.snapshot
    return frozenset(
        one.anchor
        for one in snapshot.credentials.values()
        if isinstance(one, CertificateBinding)
        and not {one.id, one.principal} & snapshot.revoked
        and now < one.expires_at
    )


@lru_cache(maxsize=64)
def _anchor(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _not_bound() -> AuthError:
    return AuthError("This client is not bound to the certificate that it shows.", code="bad-client")


def _bad(why: str) -> InputError:
    return InputError(f"The certificate cannot be bound: {why}.", code="bad-certificate")
