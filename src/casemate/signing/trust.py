"""Who may sign what, and from when until when."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import DEFAULT_PROJECT, SCHEMA, InputError, VerificationError, canonical, parse_rfc3339
from casemate.signing.dsse import keyid_of, load_public_key


class Predicate(StrEnum):
    """What a signed statement says; each is trusted apart."""

    FILES = "https://model_signing/signature/v1.0"  # the OpenSSF bundle: these files, these digests
    RELEASE = "https://casemate.dev/release/v1"
    SCAN = "https://casemate.dev/scan/v1"
    TRAINING = "https://casemate.dev/training/v1"
    APPROVAL = "https://casemate.dev/approval/v1"
    SCREENING = "https://casemate.dev/screening/v1"
    EVALUATION = "https://casemate.dev/evaluation/v1"
    CONVERSION = "https://casemate.dev/conversion/v1"


_LATER = frozenset({Predicate.SCREENING, Predicate.EVALUATION, Predicate.CONVERSION})


class TrustedSigner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ledger body of kind `trust`.

    Args:
        pem: An ECDSA P-256 public key, or an X.509 certificate, whose validity then binds too.
        may_sign: Predicate types.
        not_before, not_after: RFC 3339, or empty for no bound of our own.
        removed: The signer is trusted for nothing from here on.
        succeeds, endorsement: id of the key whose place it takes, and that key's signature over both; empty for a first.
    """

    pem: str
    may_sign: tuple[Predicate, ...]
    project: str = DEFAULT_PROJECT
    not_before: str = ""
    not_after: str = ""
    removed: bool = False
    succeeds: str = ""
    endorsement: str = ""
    schema: int = SCHEMA


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    public: ec.EllipticCurvePublicKey
    may_sign: frozenset[Predicate]
    windows: tuple[tuple[datetime, datetime], ...]


class TrustPolicy:
    """The signers of one project, by key id. What it does not name is not trusted."""

    def __init__(self, signers: Iterable[TrustedSigner] = ()) -> None:
        """Args: signers: in the order of the record; a later entry for the same key replaces the earlier one.
        Raises: InputError: a key or certificate cannot be read."""
        self._keys: dict[str, _Key] = {}
        for signer in signers:
            keyid, key = _loaded(signer)
            if signer.succeeds:
                self._check_endorsed(signer)
            self._keys.pop(keyid, None)
            if not signer.removed:
                self._keys[keyid] = key

    def _check_endorsed(self, signer: TrustedSigner) -> None:
        """Raises: InputError: the key that it succeeds is not trusted, or did not sign it."""
        before = self._keys.get(signer.succeeds)
        try:
            if before is None:
                raise InvalidSignature
            signature = base64.b64decode(signer.endorsement, validate=True)
            before.public.verify(signature, succession(signer.succeeds, signer.pem), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise InputError("A signing key was not endorsed by the one before it.", code="bad-public-key") from error

    @classmethod
    def fold(cls, bodies: Iterable[Any], *, project: str = DEFAULT_PROJECT) -> TrustPolicy:
        """The policy of `project` after these ledger bodies of kind `trust`.

        Raises: VerificationError `trust-malformed`: an entry cannot be read; nothing is trusted then.
        """
        try:
            signers = [msgspec.convert(body, TrustedSigner) for body in bodies]
            return cls(signer for signer in signers if signer.project == project)
        except (msgspec.ValidationError, InputError, ValueError) as error:
            raise VerificationError("The record of trusted signers cannot be read.", code="trust-malformed") from error

    def key_for(self, keyid: str, predicate: Predicate, *, at: datetime) -> ec.EllipticCurvePublicKey:
        """The key of a signer trusted for `predicate` at `at`.

        Raises: VerificationError `signer-not-trusted`, `certificate-expired`.
        """
        key = self._keys.get(keyid)
        if key is None or predicate not in key.may_sign:
            raise VerificationError(
                f"The signer {keyid[:16]!r} is not trusted to sign {predicate}: "
                "sign with a trusted key, or have an owner trust this one.",
                code="signer-not-trusted",
            )
        check_windows(key.windows, at=at)
        return key.public


def check_windows(windows: Iterable[tuple[datetime, datetime]], *, at: datetime) -> None:
    """Raises: VerificationError `certificate-expired`: `at` is outside one of them."""
    for start, end in windows:
        if not start <= at <= end:
            raise VerificationError(
                f"The signer's key or certificate is valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC "
                "only: sign again with a valid one.",
                code="certificate-expired",
            )


def certificate_window(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def certificate_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Raises: InputError: not ECDSA P-256."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("A signing certificate must hold an ECDSA key on the curve P-256.", code="bad-public-key")
    return key


def initial_trust(release_pem: bytes) -> Mapping[str, Any]:
    """The ledger body with which a new home trusts its own release key for everything in project `default`."""
    load_public_key(release_pem)
    signer = TrustedSigner(pem=release_pem.decode(), may_sign=tuple(Predicate))
    body: dict[str, Any] = msgspec.to_builtins(signer)
    return body


def succession(before: str, pem: str) -> bytes:
    """What the key `before`, by its id, signs when the key `pem` takes its place."""
    return canonical(["casemate signing key succession 1", before, pem])


def successor_trust(before_pem: bytes, pem: bytes, sign: Callable[[bytes], bytes]) -> dict[str, Any]:
    """The ledger body with which a home trusts a new release key, endorsed by the one before. Args: sign: with that one."""
    before = keyid_of(load_public_key(before_pem))
    load_public_key(pem)
    endorsement = base64.b64encode(sign(succession(before, pem.decode()))).decode()
    signer = TrustedSigner(pem=pem.decode(), may_sign=tuple(Predicate), succeeds=before, endorsement=endorsement)
    body: dict[str, Any] = msgspec.to_builtins(signer)
    return body


def _loaded(signer: TrustedSigner) -> tuple[str, _Key]:
    windows = [
        (
            parse_rfc3339(signer.not_before) if signer.not_before else datetime.min.replace(tzinfo=UTC),
            parse_rfc3339(signer.not_after) if signer.not_after else datetime.max.replace(tzinfo=UTC),
        )
    ]
    pem = signer.pem.encode()
    if "BEGIN CERTIFICATE" in signer.pem:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise InputError("This is not a certificate in PEM form.", code="bad-public-key") from error
        public = certificate_key(certificate)
        windows.append(certificate_window(certificate))
    else:
        public = load_public_key(pem)
    return keyid_of(public), _Key(public=public, may_sign=_may_sign(signer), windows=tuple(windows))


def _may_sign(signer: TrustedSigner) -> frozenset[Predicate]:
    """Who may sign releases and scans may sign what came later: homes were made before there was any of it."""
    stated = frozenset(signer.may_sign)
    return stated | _LATER if stated >= {Predicate.RELEASE, Predicate.SCAN} else stated
