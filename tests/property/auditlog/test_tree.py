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
    inclusion_proof,
    leaf_hash,
    subtree_root,
    tree_root,
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
    roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    frontier = Frontier()
    assert frontier.root().hex() == roots[0]
    for text, root in zip(inputs, roots[1:], strict=True):
        frontier.add(leaf_hash(bytes.fromhex(text)))
        assert frontier.root().hex() == root


@given(sizes)
@settings(deadline=None)
def test_growing_and_recovering_give_the_plain_root(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.add(leaf)
    assert frontier.root() == plain_root(LEAVES[:size]) == tree_root(size, nodes(size)) == subtree_root(LEAVES[:size])
    again = Frontier(frontier.open_tiles)
    assert (again.size, again.root(), again.partial()) == (size, frontier.root(), frontier.partial())


def test_tiles_hold_what_the_tree_is_made_of() -> None:
    """Past 256 * 256 leaves: two levels of full tiles, and the edge between them."""
    frontier, filled = Frontier(), {}
    leaves = [leaf_hash(number.to_bytes(4)) for number in range(TILE * TILE + TILE + 3)]
    for number, leaf in enumerate(leaves, 1):
        for tile in frontier.add(leaf):
            assert filled.setdefault(tile[:2], tile.data) is tile.data
        if number in {TILE * TILE - 1, TILE * TILE, TILE * TILE + 1}:
            assert Frontier(frontier.open_tiles).root() == subtree_root(leaves[:number]) == frontier.root()
    assert set(filled) == {(0, number) for number in range(TILE + 1)} | {(1, 0)}
    for (level, number), data in filled.items():
        width = TILE**level
        starts = range(number * TILE * width, (number + 1) * TILE * width, width)
        assert data == b"".join(subtree_root(leaves[start : start + width]) for start in starts)
    roots = b"".join(filled[0, number] for number in range(TILE))
    assert roots == b"".join(leaves[: TILE * TILE])
    assert [(tile.level, tile.number, len(tile.data)) for tile in frontier.partial()] == [(1, 1, 32), (2, 0, 32)]


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
