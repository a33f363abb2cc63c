"""Dead Simple Signing Envelopes over ECDSA P-256 keys: one signature, one payload type, strict JSON.

Source: DSSE protocol 1.0 (secure-systems-lab/dsse) and the Sigstore bundle 0.3, which embeds the same envelope.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import InputError, VerificationError, canonical
from casemate.keys import Purpose

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 16 << 20  # bytes; a statement over 100,000 files stays below


class SigningKeys(Protocol):
    """The part of `keys.KeyService` that signing needs; the private key stays behind it."""

    def sign(self, purpose: Purpose, payload: bytes) -> bytes: ...


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`payload` and each `sig` are base64; exactly one signature stands in an envelope of ours."""

    payload: str
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


class Signer(Protocol):
    """Signs a payload; the envelope names the key."""

    def sign(self, payload: bytes) -> Envelope: ...


class ReleaseSigner:
    """Signs with the keeper's release key; knows only its public half.

    Args: keys: where the private key is used. public_pem: its public half, or what tells it anew: it may move.
    Raises: InputError: the PEM is not an ECDSA P-256 public key.
    """

    def __init__(self, keys: SigningKeys, public_pem: bytes | Callable[[], bytes]) -> None:
        self._keys = keys
        self._told = public_pem if callable(public_pem) else lambda: public_pem
        self._public = load_public_key(self._told())

    @property
    def keyid(self) -> str:
        """Of the key that signed last."""
        return keyid_of(self._public)

    def sign(self, payload: bytes) -> Envelope:
        """An envelope over `payload`, which names the key that signed it.

        Raises: VerificationError `signing-key-changed`: it was not the one that is published; StorageError.
        """
        encoded = pae(payload)
        signature = self._keys.sign(Purpose.RELEASE, encoded)
        keyid = self._signed_by(signature, encoded)
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=PAYLOAD_TYPE,
            signatures=(EnvelopeSignature(sig=base64.b64encode(signature).decode(), keyid=keyid),),
        )

    def _signed_by(self, signature: bytes, encoded: bytes) -> str:
        for public in (self._public, None):
            key = public or load_public_key(self._told())  # it was moved meanwhile
            try:
                key.verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            self._public = key
            return keyid_of(key)
        raise VerificationError(
            "What was signed was not signed by this home's release key, so it is not kept: see casemate keys show.",
            code="signing-key-changed",
        )


def pae(payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed. Length-prefixed, so type and payload cannot run together."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def load_public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Raises: InputError: not an ECDSA P-256 public key in PEM."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise InputError("This is not a public key in PEM form.", code="bad-public-key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("A signing key must be ECDSA on the curve P-256.", code="bad-public-key")
    return key


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """The one PEM of a key, whatever file it came from."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def keyid_of(key: ec.EllipticCurvePublicKey) -> str:
    """Hex SHA-256 of the PEM, as `model-signing` writes it into a bundle's `hint`."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def encode_envelope(envelope: Envelope) -> bytes:
    return canonical(envelope)


def decode_envelope(data: bytes) -> Envelope:
    """Raises: VerificationError `signature-malformed`."""
    try:
        if len(data) > MAX_ENVELOPE:
            raise ValueError
        envelope = msgspec.json.decode(data, type=Envelope)
    except ValueError as error:
        raise malformed("it is not a DSSE envelope") from error
    check_envelope(envelope)
    return envelope


def check_envelope(envelope: Envelope) -> None:
    """Raises: VerificationError `signature-malformed`: another payload type, or not exactly one signature."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise malformed("its payload is not an in-toto statement")
    if len(envelope.signatures) != 1:
        raise malformed("it does not carry exactly one signature")


def open_envelope(envelope: Envelope, key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the payload, which `key` signed. Raises: VerificationError `signature-malformed`, `signature-invalid`."""
    payload = strict_base64(envelope.payload)
    try:
        key.verify(strict_base64(envelope.signatures[0].sig), pae(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise VerificationError(
            "A signature does not match what it signs: somebody altered one of them; push the version again.",
            code="signature-invalid",
        ) from error
    return payload


def strict_base64(text: str) -> bytes:
    """Decode the one canonical spelling only, so that no second text means the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("it holds broken base64") from error
    if base64.b64encode(data).decode() != text:
        raise malformed("its base64 is not canonical")
    return data


def malformed(why: str) -> VerificationError:
    return VerificationError(f"A signature cannot be read: {why}; push the version again.", code="signature-malformed")
