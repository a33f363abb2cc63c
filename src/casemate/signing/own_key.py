"""A person's own signing key: ECDSA P-256 in a file of theirs, behind a passphrase; no server ever has it."""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import InputError
from casemate.signing.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, keyid_of, pae, public_pem

MIN_PASSPHRASE = 12  # characters; the file may be copied and guessed at for ever


class OwnKey:
    """Signs as its person. Args: private: from `open` or `make`."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private

    @classmethod
    def make(cls) -> OwnKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def open(cls, pem: bytes, passphrase: str) -> OwnKey:
        """Raises: InputError `wrong-passphrase`; `bad-private-key`: no ECDSA P-256 key behind a passphrase."""
        if b"BEGIN ENCRYPTED PRIVATE KEY" not in pem:
            raise InputError(
                "An approver's key lies behind a passphrase: make one with casemate approver new.",
                code="bad-private-key",
            )
        try:
            key = serialization.load_pem_private_key(pem, passphrase.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InputError("The passphrase does not open this key.", code="wrong-passphrase") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InputError("An approver's key is ECDSA on the curve P-256.", code="bad-private-key")
        return cls(key)

    @property
    def keyid(self) -> str:
        return keyid_of(self._private.public_key())

    @property
    def public_pem(self) -> bytes:
        return public_pem(self._private.public_key())

    def sealed_pem(self, passphrase: str) -> bytes:
        """The private key, encrypted under `passphrase`. Raises: InputError `weak-passphrase`."""
        if len(passphrase) < MIN_PASSPHRASE:
            raise InputError(f"A passphrase has at least {MIN_PASSPHRASE} characters.", code="weak-passphrase")
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()),
        )

    def sign(self, payload: bytes) -> Envelope:
        signature = self._private.sign(pae(payload), ec.ECDSA(hashes.SHA256()))
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=PAYLOAD_TYPE,
            signatures=(EnvelopeSignature(sig=base64.b64encode(signature).decode(), keyid=self.keyid),),
        )
