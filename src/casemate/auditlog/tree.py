"""The Merkle tree of RFC 6962: roots, inclusion proofs, and tiles of 256 hashes (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

TILE = 256  # hashes in a full tile
HASH = 32  # bytes of a hash
_TILE_HEIGHT = 8  # levels of the tree that a tile spans

Node = Callable[[int, int], bytes]  # level and index -> hash of that complete subtree of 2**level leaves

EMPTY_ROOT = sha256(b"").digest()


class Tile(NamedTuple):
    """Its k-th hash is the root of complete subtree `number * 256 + k` of 256**level leaves."""

    level: int
    number: int
    data: bytes


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, the largest first, and its open tiles.

    `open_tiles` holds, by level, the hashes of the tile that is not full yet; together they are the whole edge.
    """

    def __init__(self, open_tiles: Sequence[bytes | bytearray] = ()) -> None:
        self.open_tiles = [bytearray(data) for data in open_tiles] or [bytearray()]
        self.size, self._roots = 0, []
        for level in range(len(self.open_tiles) - 1, -1, -1):
            hashes = split_tile(self.open_tiles[level])
            self.size += len(hashes) << (_TILE_HEIGHT * level)
            start = 0
            for height in range(_TILE_HEIGHT - 1, -1, -1):
                if len(hashes) >> height & 1:
                    self._roots.append(subtree_root(hashes[start : start + (1 << height)]))
                    start += 1 << height

    def add(self, leaf: bytes) -> list[Tile]:
        """Add a leaf; returns the tiles that it filled, lowest first."""
        filled: list[Tile] = []
        carry, size, height, roots = leaf, self.size, 0, self._roots
        self.open_tiles[0] += leaf
        while size & 1:
            carry = sha256(b"\x01" + roots.pop() + carry).digest()
            size >>= 1
            height += 1
            if not height % _TILE_HEIGHT:
                filled.append(self._fill(height // _TILE_HEIGHT, carry))
        roots.append(carry)
        self.size += 1
        return filled

    def _fill(self, level: int, root: bytes) -> Tile:
        """Close the tile below `level`, and set its root into the open tile of `level`."""
        if level == len(self.open_tiles):
            self.open_tiles.append(bytearray())
        tile = Tile(level - 1, self.size >> (_TILE_HEIGHT * level), bytes(self.open_tiles[level - 1]))
        self.open_tiles[level - 1].clear()
        self.open_tiles[level] += root
        return tile

    def partial(self) -> list[Tile]:
        """The open tiles above the leaves, where they hold anything."""
        found = []
        for level in range(1, len(self.open_tiles)):
            if self.open_tiles[level]:
                number = self.size >> (_TILE_HEIGHT * (level + 1))
                found.append(Tile(level, number, bytes(self.open_tiles[level])))
        return found

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def split_tile(data: bytes | bytearray) -> list[bytes]:
    """The hashes in a tile."""
    return [bytes(data[at : at + HASH]) for at in range(0, len(data), HASH)]


def subtree_root(hashes: list[bytes]) -> bytes:
    """The root over any number of hashes."""
    if not hashes:
        return EMPTY_ROOT
    while len(hashes) > 1:
        above = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]
        hashes = [*above, hashes[-1]] if len(hashes) % 2 else above
    return hashes[0]


def tree_root(size: int, node: Node) -> bytes:
    """The root of the first `size` leaves."""
    return _range(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of `size` leaves. Source: RFC 6962, section 2.1.1."""
    return _path(index, 0, size, node)


def _path(index: int, start: int, count: int, node: Node) -> list[bytes]:
    if count == 1:
        return []
    half = _half(count)
    if index < half:
        return [*_path(index, start, half, node), _range(start + half, count - half, node)]
    return [*_path(index - half, start + half, count - half, node), _range(start, half, node)]


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
