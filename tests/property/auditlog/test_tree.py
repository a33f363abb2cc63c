"""The tree against a plain reading of RFC 6962."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.auditlog.checkpoint import checkpoint_body, open_checkpoint, signed_note
from casemate.auditlog.tree import (
    TILE,
    Frontier,
    TileNodes,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from casemate.core import VerificationError

LEAVES = [leaf_hash(str(number).encode()) for number in range(600)]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
sizes = st.integers(1, len(LEAVES))


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + plain_root(leaves[:split]) + plain_root(leaves[split:])).digest()


def nodes(size: int) -> TileNodes:
    def tile(level: int, index: int) -> list[bytes]:
        width = TILE**level
        starts = range(index * TILE * width, min((index + 1) * TILE * width, size), width)
        return [plain_root(LEAVES[start : start + width]) for start in starts if start + width <= size]

    return TileNodes(tile)


def test_the_published_roots_come_out() -> None:
    """The eight inputs that Certificate Transparency's implementations have tested with from the start."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    frontier = Frontier()
    assert frontier.root().hex() == roots[0]
    for number, text in enumerate(inputs, 1):
        frontier.add(leaf_hash(bytes.fromhex(text)))
        if number in roots:
            assert frontier.root().hex() == roots[number]


@given(sizes)
@settings(deadline=None)
def test_growing_and_recovering_give_the_plain_root(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.add(leaf)
    assert frontier.root() == plain_root(LEAVES[:size]) == frontier_of(size, nodes(size)).root()


@given(sizes, st.data())
@settings(deadline=None)
def test_every_leaf_is_proven_and_no_other(size: int, data: st.DataObject) -> None:
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, nodes(size)), plain_root(LEAVES[:size])
    assert verify_inclusion(LEAVES[index], index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert verify_inclusion(LEAVES[index], other, size, proof, root) == (index == other)
    for at in range(len(proof)):
        assert not verify_inclusion(LEAVES[index], index, size, [*proof[:at], *proof[at + 1 :]], root)


@given(sizes, st.data())
@settings(deadline=None)
def test_every_older_tree_is_proven_and_no_other(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    proof = consistency_proof(old, size, nodes(size))
    old_root, root = plain_root(LEAVES[:old]), plain_root(LEAVES[:size])
    assert verify_consistency(old, size, proof, old_root, root)
    wrong = bytes([old_root[0] ^ 1]) + old_root[1:]
    assert not verify_consistency(old, size, proof, wrong, root)
    if 0 < old < size:
        assert not verify_consistency(old, size, [*proof, root], old_root, root)


@given(st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_comes_back(size: int, root: bytes) -> None:
    body = checkpoint_body("casemate.dev/x", size, root)
    note = signed_note(body, "casemate.dev/x", KEY.sign(body.encode()), KEY.public_key())
    found = open_checkpoint(note, "casemate.dev/x", KEY.public_key())
    assert (found.size, found.root) == (size, root)


@given(st.data())
def test_any_flipped_character_of_a_checkpoint_is_refused(data: st.DataObject) -> None:
    body = checkpoint_body("casemate.dev/x", 77, bytes(32))
    note = signed_note(body, "casemate.dev/x", KEY.sign(body.encode()), KEY.public_key())
    at = data.draw(st.integers(0, len(note) - 1))
    altered = note[:at] + chr(ord(note[at]) ^ (1 << data.draw(st.integers(0, 6)))) + note[at + 1 :]
    try:
        open_checkpoint(altered, "casemate.dev/x", KEY.public_key())
    except VerificationError:
        return
    raise AssertionError(altered)
