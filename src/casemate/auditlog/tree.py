"""The Merkle tree of RFC 6962: roots, inclusion and consistency proofs, and tiles of 256 hashes (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

TILE = 256  # hashes in a full tile
_TILE_HEIGHT = 8  # levels of the tree that a tile spans

Node = Callable[[int, int], bytes]  # level and index -> hash of that complete subtree of 2**level leaves

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, the largest first."""

    def __init__(self, size: int = 0, roots: list[bytes] | None = None) -> None:
        self.size, self._roots = size, list(roots or [])

    def add(self, leaf: bytes) -> None:
        carry, size = leaf, self.size
        while size & 1:
            carry = node_hash(self._roots.pop(), carry)
            size >>= 1
        self._roots.append(carry)
        self.size += 1

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root

    def copy(self) -> Frontier:
        return Frontier(self.size, self._roots)


def frontier_of(size: int, node: Node) -> Frontier:
    """The frontier of the first `size` leaves."""
    roots, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            roots.append(node(level, start >> level))
            start += 1 << level
    return Frontier(size, roots)


def subtree_root(hashes: list[bytes]) -> bytes:
    """The root over any number of hashes."""
    frontier = Frontier()
    for one in hashes:
        frontier.add(one)
    return frontier.root()


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of `size` leaves. Source: RFC 6962, section 2.1.1."""
    return _path(index, 0, size, node)


def consistency_proof(old: int, size: int, node: Node) -> list[bytes]:
    """The hashes that show the first `old` of `size` leaves unchanged. Source: RFC 6962, section 2.1.2."""
    return _subproof(old, 0, size, node, whole=True) if 0 < old < size else []


def _path(index: int, start: int, count: int, node: Node) -> list[bytes]:
    if count == 1:
        return []
    half = _half(count)
    if index < half:
        return [*_path(index, start, half, node), _range(start + half, count - half, node)]
    return [*_path(index - half, start + half, count - half, node), _range(start, half, node)]


def _subproof(old: int, start: int, count: int, node: Node, *, whole: bool) -> list[bytes]:
    if old == count:
        return [] if whole else [_range(start, count, node)]
    half = _half(count)
    if old <= half:
        return [*_subproof(old, start, half, node, whole=whole), _range(start + half, count - half, node)]
    return [*_subproof(old - half, start + half, count - half, node, whole=False), _range(start, half, node)]


def _half(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(start: int, count: int, node: Node) -> bytes:
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, start >> level)
    half = _half(count)
    return node_hash(_range(start, half, node), _range(start + half, count - half, node))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether the proof leads from the leaf to the root. Source: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for hash_ in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(hash_, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, hash_)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == root


def verify_consistency(old: int, size: int, proof: list[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether the tree of `size` leaves continues that of `old`. Source: RFC 9162, section 2.1.4.2."""
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if not 0 < old < size or not proof:
        return False
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = hashes[0]
    for hash_ in hashes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            before, after = node_hash(hash_, before), node_hash(hash_, after)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node_hash(after, hash_)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and before == old_root and after == root


class TileNodes:
    """Hashes of complete subtrees, read through tiles: `tile(level, index)` gives the hashes that stand in a tile.

    A tile of level L holds hashes of height 8 L; the last one of each level may be partial.
    """

    def __init__(self, tile: Callable[[int, int], list[bytes]]) -> None:
        self._tile = tile

    def __call__(self, level: int, index: int) -> bytes:
        floor, above = divmod(level, _TILE_HEIGHT)
        first = index << above
        hashes = self._tile(floor, first // TILE)
        start = first % TILE
        return subtree_root(hashes[start : start + (1 << above)])
