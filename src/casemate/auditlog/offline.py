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
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

FIELDS = {"schema", "entry", "index", "size", "hashes", "checkpoint", "public_key"}
NOTE = re.compile(r"([^\s+]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n\n\u2014 (\S+) ([A-Za-z0-9+/]{91}=)\n")


def check(proof: object, key_pem: bytes) -> dict[str, object]:
    """Return the proven entry. Raises: ValueError, saying what does not fit."""
    if not isinstance(proof, dict) or set(proof) != FIELDS or type(proof["schema"]) is not int or proof["schema"] != 1:
        raise ValueError(f"the proof must be a JSON object of schema 1 with just {', '.join(sorted(FIELDS))}")
    index, size, hashes = proof["index"], proof["size"], proof["hashes"]
    if type(index) is not int or type(size) is not int or not isinstance(hashes, list):
        raise ValueError("index and size must be whole numbers, and hashes a list")
    key = public_key(key_pem)
    if public_key(str(proof["public_key"]).encode()).public_bytes_raw() != key.public_bytes_raw():
        raise ValueError("the proof names another key than the one that you gave")
    signed_size, root = signed_root(str(proof["checkpoint"]), key)
    if size != signed_size:
        raise ValueError("the proof is for another tree than its checkpoint")
    entry = decoded(proof["entry"], "entry")
    if root_of(entry, index, size, [decoded(one, "hashes") for one in hashes]) != root:
        raise ValueError("the entry is not in the log that was signed")
    found: dict[str, object] = json.loads(entry)
    return found


def public_key(pem: bytes) -> Ed25519PublicKey:
    """The key in a PEM file."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the key is not an Ed25519 key")  # noqa: TRY004 one kind for the reader
    return key


def decoded(text: object, field: str) -> bytes:
    """The bytes of canonical base64."""
    try:
        data = base64.b64decode(str(text), validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise ValueError(f"{field} is not canonical base64")
    return data


def signed_root(note: str, key: Ed25519PublicKey) -> tuple[int, bytes]:
    """Size and root of a signed checkpoint."""
    parts = NOTE.fullmatch(note)
    if parts is None:
        raise ValueError("the checkpoint is malformed")
    origin, size, root, name, encoded = parts.groups()
    packed = decoded(encoded, "the checkpoint's signature")
    hint = hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
    if name != origin or packed[:4] != hint:
        raise ValueError("the checkpoint is signed with another key")
    try:
        key.verify(packed[4:], f"{origin}\n{size}\n{root}\n".encode())
    except InvalidSignature:
        raise ValueError("the checkpoint's signature does not fit") from None
    return int(size), decoded(root, "the root")


def root_of(entry: bytes, index: int, size: int, hashes: list[bytes]) -> bytes:
    """The root that the proof leads to (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise ValueError("the index is outside the tree")
    fn, sn = index, size - 1
    found = hashlib.sha256(b"\x00" + entry).digest()
    for one in hashes:
        if sn == 0 or len(one) != 32:
            raise ValueError("the proof is too long, or holds what is no hash")
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
        proof = json.loads(arguments.proof.read_text("utf-8"))
        own = str(proof.get("public_key")) if isinstance(proof, dict) else ""
        entry = check(proof, arguments.key.read_bytes() if arguments.key else own.encode())
    except (OSError, ValueError, RecursionError) as error:
        sys.stderr.write(f"NOT PROVEN: {error}\n")
        return 1
    trust = "" if arguments.key else " (against the key in the file itself: give --key to trust more than the file)"
    sys.stdout.write(f"proven{trust}: {json.dumps(entry)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
