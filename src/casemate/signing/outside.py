"""Model signatures of other people (OpenSSF Model Signing 1.0), judged without a network by whom the caller trusts.

A signature in a home is judged by the home's `TrustPolicy`. Here a person names the signer of files that came from
elsewhere: a public key, roots of certificates, or an identity in Sigstore.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import InputError, VerificationError, canonical
from casemate.signing.bundle import MEDIA_TYPE
from casemate.signing.certificates import check_chain, names_of, proven_time, subject_of
from casemate.signing.dsse import MAX_ENVELOPE, PAYLOAD_TYPE, pae

_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a trusted signer signed.

    Args: payload: an in-toto statement. signer: a key's id, a certificate's subject, or an identity and its issuer.
        at: when a timestamp or a transparency log proves that it was signed; None where nothing does.
    """

    payload: bytes
    method: Literal["key", "certificate", "keyless"]
    signer: str
    at: datetime | None = None


class Judge(Protocol):
    """Whom the caller trusts."""

    def open(self, bundle: bytes, *, now: datetime) -> Signed:
        """Return what was signed. Raises: VerificationError, as the judge says."""


# Sigstore's bundle has grown: fields that are not read here are not trusted either.
class _Certificate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    raw_bytes: bytes


class _Chain(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    certificates: tuple[_Certificate, ...]


class _Timestamp(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    signed_timestamp: bytes


class _Timestamps(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    rfc3161_timestamps: tuple[_Timestamp, ...] = msgspec.field(name="rfc3161Timestamps", default=())


class _Material(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    public_key: dict[str, Any] | None = None
    certificate: _Certificate | None = None
    x509_certificate_chain: _Chain | None = msgspec.field(name="x509CertificateChain", default=None)
    timestamp_verification_data: _Timestamps | None = None
    tlog_entries: tuple[Any, ...] = ()


class _Signature(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sig: bytes


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    payload: bytes
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Bundle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    verification_material: _Material
    dsse_envelope: _Envelope


@dataclass(frozen=True, slots=True)
class Named:
    """What a bundle says of its signer, unverified. Args: hint: of a key. logged: a transparency log is named."""

    hint: str
    certificate: bool
    logged: bool


def as_bundle(data: bytes) -> bytes:
    """A bundle as it is, and a bare DSSE envelope in one. Raises: VerificationError `signature-malformed`."""
    _bounded(data)
    try:
        envelope = msgspec.json.decode(data, type=dict[str, Any])
    except ValueError as error:
        raise _malformed("it is neither a Sigstore bundle nor a DSSE envelope") from error
    if "payloadType" not in envelope:
        return data
    signatures = envelope.get("signatures")
    first = signatures[0] if isinstance(signatures, list) and signatures else None
    keyid = first.get("keyid", "") if isinstance(first, dict) else ""
    material = {"publicKey": {"hint": keyid}, "tlogEntries": []}
    return canonical({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def named_in(bundle: bytes) -> Named:
    """Raises: VerificationError `signature-malformed`."""
    material = _read(bundle).verification_material
    key = material.public_key or {}
    return Named(
        hint=str(key.get("hint", "")),
        certificate=material.certificate is not None or material.x509_certificate_chain is not None,
        logged=bool(material.tlog_entries),
    )


def payload_in(bundle: bytes) -> bytes:
    """What a bundle says was signed, unverified: to be compared, never believed. Raises: VerificationError."""
    return _read(bundle).dsse_envelope.payload


class PublicKeyJudge:
    """Trusts one key.

    Args: pem: ECDSA on P-256, P-384 or P-521, as the upstream tool signs with.
    Raises: InputError `bad-public-key`.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            key = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise InputError("This is not a public key in PEM form.", code="bad-public-key") from error
        self._key = _usable(key)

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of its one PEM, as `model-signing` writes it into a bundle's `hint`."""
        pem = self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(pem).hexdigest()

    def open(self, bundle: bytes, *, now: datetime) -> Signed:  # noqa: ARG002 - a bare key has no time
        """Raises: VerificationError `signature-malformed`, `signature-invalid`."""
        envelope = _read(bundle).dsse_envelope
        return Signed(payload=_opened(envelope, self._key), method="key", signer=self.keyid)


class CertificateJudge:
    """Trusts whoever holds a certificate for signing that leads to one of these roots.

    Args: roots: the only anchors; the system's are not asked. revoked: current lists, one for each issuer; none for no
        check. timestamp_roots: of timestamp authorities, whose word makes an expired certificate count as of then.
        identity: a name that the certificate must bear, as `names_of` reads them; empty for whoever holds one.
    """

    def __init__(
        self,
        roots: Sequence[x509.Certificate],
        *,
        revoked: Sequence[x509.CertificateRevocationList] = (),
        timestamp_roots: Sequence[x509.Certificate] = (),
        identity: str = "",
    ) -> None:
        self._roots, self._revoked, self._timestamp_roots = roots, revoked, timestamp_roots
        self._identity = identity

    def open(self, bundle: bytes, *, now: datetime) -> Signed:
        """Raises: VerificationError `signature-malformed`, `signature-invalid`, `signer-not-trusted`: it bears another
        name; and as `certificates.check_chain`.
        """
        read = _read(bundle)
        material = read.verification_material
        given = material.x509_certificate_chain.certificates if material.x509_certificate_chain else ()
        if material.certificate is not None:
            given = (material.certificate, *given)
        try:
            chain = [x509.load_der_x509_certificate(one.raw_bytes) for one in given]
        except ValueError as error:
            raise _malformed("its certificates cannot be read") from error
        if not chain:
            raise _malformed("it carries no certificate; name the signer's key instead")
        payload = _opened(read.dsse_envelope, chain[0].public_key())
        at = self._proven(read)
        check_chain(chain, roots=self._roots, revoked=self._revoked, at=at or now, now=now)
        if self._identity and self._identity not in names_of(chain[0]):
            raise VerificationError(
                f"The certificate of {subject_of(chain[0])[:120]!r} does not name {self._identity!r}.",
                code="signer-not-trusted",
            )
        return Signed(payload=payload, method="certificate", signer=subject_of(chain[0]), at=at)

    def _proven(self, read: _Bundle) -> datetime | None:
        data = read.verification_material.timestamp_verification_data
        if data is None or not self._timestamp_roots:
            return None
        stamps = [one.signed_timestamp for one in data.rfc3161_timestamps]
        return proven_time(read.dsse_envelope.signatures[0].sig, stamps, roots=self._timestamp_roots)


class IdentityJudge:
    """Trusts one identity, as one issuer knew it: keyless Sigstore, with the trusted root as a file, no network.

    Args: identity: an e-mail address or the URI of a workflow, whole. issuer: its OpenID Connect issuer.
        trusted_root: Sigstore's `trusted_root.json`, or the client configuration that holds one; None for the public
        Sigstore's, as it was when the installed library was released.
    Raises: InputError `bad-trusted-root`.
    """

    def __init__(self, identity: str, issuer: str, trusted_root: bytes | None = None) -> None:
        from sigstore.models import ClientTrustConfig, TrustedRoot
        from sigstore.verify import Verifier
        from sigstore_models.trustroot import v1

        self._identity, self._issuer = identity, issuer
        try:
            if trusted_root is None:
                root = ClientTrustConfig.production(offline=True).trusted_root
            else:
                read = json.loads(trusted_root)
                root = TrustedRoot(v1.TrustedRoot.from_json(json.dumps(read.get("trustedRoot", read))))
            self._verifier = Verifier(trusted_root=root)
        except Exception as error:  # the library raises many kinds here
            raise InputError("The trusted root of Sigstore cannot be read.", code="bad-trusted-root") from error

    def open(self, bundle: bytes, *, now: datetime) -> Signed:
        """Raises: VerificationError `signature-malformed`, `signer-not-trusted`: other identity, no proof in a log."""
        from sigstore.errors import Error
        from sigstore.models import Bundle
        from sigstore.verify import policy

        _bounded(bundle)
        try:
            read = Bundle.from_json(bundle)
        except Exception as error:
            raise _malformed("it is not a Sigstore bundle with a certificate") from error
        try:
            kind, payload = self._verifier.verify_dsse(
                read, policy.Identity(identity=self._identity, issuer=self._issuer)
            )
        except Exception as error:  # whatever the library stumbles over is no proof
            why = f": {error}" if isinstance(error, Error) else ""
            raise VerificationError(
                f"Nothing proves that {self._identity!r} of {self._issuer!r} signed this{why}.",
                code="signer-not-trusted",
            ) from error
        if kind != PAYLOAD_TYPE:
            raise _malformed("its payload is not an in-toto statement")
        logged = read.log_entry._inner.integrated_time  # noqa: SLF001 - the library tells it nowhere else
        at = datetime.fromtimestamp(int(logged), tz=now.tzinfo) if logged else None
        return Signed(payload=payload, method="keyless", signer=f"{self._identity} ({self._issuer})", at=at)


def _bounded(bundle: bytes) -> None:
    if len(bundle) > MAX_ENVELOPE:
        raise _malformed("it is too large")


def _read(bundle: bytes) -> _Bundle:
    _bounded(bundle)
    try:
        read = msgspec.json.decode(bundle, type=_Bundle)
    except ValueError as error:
        raise _malformed("it is not a Sigstore bundle around a DSSE envelope") from error
    if read.dsse_envelope.payload_type != PAYLOAD_TYPE:
        raise _malformed("its payload is not an in-toto statement")
    if len(read.dsse_envelope.signatures) != 1:
        raise _malformed("it does not carry exactly one signature")
    return read


def _usable(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in _HASHES:
        raise InputError("A signer's key is ECDSA on P-256, P-384 or P-521.", code="bad-public-key")
    return key


def _opened(envelope: _Envelope, key: object) -> bytes:
    usable = _usable(key)
    try:
        usable.verify(envelope.signatures[0].sig, pae(envelope.payload), ec.ECDSA(_HASHES[usable.curve.key_size]))
    except InvalidSignature as error:
        raise VerificationError(
            "The signature is not of that key over what it signs: one of them was altered, or somebody else signed.",
            code="signature-invalid",
        ) from error
    return envelope.payload


def _malformed(why: str) -> VerificationError:
    return VerificationError(f"The signature cannot be used: {why}.", code="signature-malformed")
