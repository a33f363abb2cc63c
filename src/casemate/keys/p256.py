"""Keys for ECDSA on the curve P-256, in PEM and DER."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import InputError


def new_private_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem_of_der(der: bytes) -> bytes:
    """Raises: InputError `bad-public-key`."""
    try:
        key = serialization.load_der_public_key(der)
    except ValueError as error:
        raise _no_key() from error
    return pem_of(_checked(key))


def load_public(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Raises: InputError `bad-public-key`."""
    try:
        return _checked(serialization.load_pem_public_key(pem))
    except ValueError as error:
        raise _no_key() from error


def load_private(pem: str) -> ec.EllipticCurvePrivateKey:
    """Raises: InputError `bad-public-key`; ValueError."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _no_key()
    return key


def _checked(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key()
    return key


def _no_key() -> InputError:
    return InputError("A signing key must be ECDSA on the curve P-256.", code="bad-public-key")
