"""Signed roots of the log: C2SP tlog-checkpoint in a C2SP signed note, Ed25519.

ORIGIN
SIZE
ROOT (base64)

— ORIGIN BASE64(key hash (4 bytes) + signature)
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from casemate.core import VerificationError

_ED25519 = b"\x01"
_ROOT = 32  # bytes
_MAX_TEXT = 4096  # characters; a checkpoint has about 200


class Checkpoint(msgspec.Struct, frozen=True):
    """What was signed. `text` is the whole note."""

    origin: str
    size: int
    root: bytes
    text: str


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def signed_note(body: str, origin: str, signature: bytes, public: Ed25519PublicKey) -> str:
    return f"{body}\n\u2014 {origin} {base64.b64encode(_key_hash(origin, public) + signature).decode()}\n"


def open_checkpoint(text: str, origin: str, public: Ed25519PublicKey) -> Checkpoint:
    """Check a note's signature and form. Raises: VerificationError `checkpoint-invalid`."""
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        body, signatures = text.split("\n\n")
        dash, name, encoded = signatures.removesuffix("\n").split(" ")
        packed = base64.b64decode(encoded, validate=True)
        if (dash, name, packed[:4]) != ("\u2014", origin, _key_hash(origin, public)):
            raise ValueError
        public.verify(packed[4:], (body + "\n").encode())
        found, size, root = body.split("\n")
        if found != origin or str(int(size)) != size or signed_note(body + "\n", name, packed[4:], public) != text:
            raise ValueError
        packed_root = base64.b64decode(root, validate=True)
        if len(packed_root) != _ROOT:
            raise ValueError
        return Checkpoint(origin, int(size), packed_root, text)
    except (ValueError, binascii.Error, InvalidSignature) as error:
        raise VerificationError(
            "A checkpoint is not one of this log's, or was altered.", code="checkpoint-invalid"
        ) from error


def _key_hash(origin: str, public: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()[:4]
