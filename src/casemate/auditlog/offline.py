"""Checks a proof file of `casemate audit prove`, with nothing of Casemate: copy this file, install `cryptography`.

    python offline.py proof.json --key checkpoint.pem

`--key` is the log's public key as you got it earlier; without it the file's own key is used, which proves only that the
file agrees with itself. Byte layouts: docs/audit-log.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def check(proof: dict[str, object], key_pem: bytes) -> dict[str, object]:
    """Return the proven entry. Raises: ValueError, saying what does not fit."""
    key = load_pem_public_key(key_pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the key is not an Ed25519 key")  # noqa: TRY004 one kind for the reader
    size, root = signed_root(str(proof["checkpoint"]), key)
    if proof["size"] != size:
        raise ValueError("the proof is for another tree than its checkpoint")
    entry = base64.b64decode(str(proof["entry"]), validate=True)
    index, hashes = proof["index"], proof["hashes"]
    if not isinstance(index, int) or not isinstance(hashes, list):
        raise ValueError("the proof is malformed")  # noqa: TRY004
    if root_of(entry, index, size, [base64.b64decode(one, validate=True) for one in hashes]) != root:
        raise ValueError("the entry is not in the log that was signed")
    found: dict[str, object] = json.loads(entry)
    return found


def signed_root(note: str, key: Ed25519PublicKey) -> tuple[int, bytes]:
    """Size and root of a signed checkpoint."""
    body, signatures = note.split("\n\n")
    dash, name, encoded = signatures.removesuffix("\n").split(" ")
    packed = base64.b64decode(encoded, validate=True)
    origin, size, root = body.split("\n")
    hint = hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
    if dash != "\u2014" or name != origin or packed[:4] != hint:
        raise ValueError("the checkpoint is signed with another key")
    try:
        key.verify(packed[4:], (body + "\n").encode())
    except InvalidSignature:
        raise ValueError("the checkpoint's signature does not fit") from None
    return int(size), base64.b64decode(root, validate=True)


def root_of(entry: bytes, index: int, size: int, hashes: list[bytes]) -> bytes:
    """The root that the proof leads to (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise ValueError("the index is outside the tree")
    fn, sn = index, size - 1
    found = hashlib.sha256(b"\x00" + entry).digest()
    for one in hashes:
        if sn == 0:
            raise ValueError("the proof is too long")
        if fn & 1 or fn == sn:
            found = hashlib.sha256(b"\x01" + one + found).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + one).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("the proof is too short")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a proof that an entry is in an audit log.")
    parser.add_argument("proof", type=Path)
    parser.add_argument("--key", type=Path, help="the log's public key (PEM), from a place that you trust")
    arguments = parser.parse_args()
    try:
        proof = json.loads(arguments.proof.read_text())
        key = arguments.key.read_bytes() if arguments.key else str(proof["public_key"]).encode()
        entry = check(proof, key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"NOT PROVEN: {error}\n")
        return 1
    trust = "" if arguments.key else " (against the key in the file itself: give --key to trust more than the file)"
    sys.stdout.write(f"proven{trust}: {json.dumps(entry)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
