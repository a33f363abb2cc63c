"""The leaves of a log as its checkpoint signed them, though anybody may have altered what is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from casemate.auditlog.checkpoint import Checkpoint
from casemate.auditlog.tree import TILE, TileNodes, subtree_root, tree_root
from casemate.core import VerificationError

_KEPT = 64  # tiles in memory, 256 hashes each: a reader goes through the log in order

TileOf = Callable[[int, int], list[bytes]]  # level and number -> the hashes that are stored in that tile


class SignedLeaves:
    """Each leaf that it gives leads, through the tiles above it, to the root that was signed.

    Args: checkpoint: None: of a log that has none nothing is signed. tile: reads a stored tile, unverified; one that is not full may have grown since the checkpoint.
    Raises: VerificationError `log-altered`: the tree's edge does not lead to the root.
    """

    def __init__(self, checkpoint: Checkpoint | None, tile: TileOf) -> None:
        self.size = checkpoint.size if checkpoint else 0
        self._read, self._edge = tile, cache(tile)
        self._tile = lru_cache(_KEPT)(self._checked)
        if checkpoint and tree_root(self.size, TileNodes(self._edge)) != checkpoint.root:
            raise _altered()

    def leaf(self, index: int) -> bytes:
        """The signed leaf of entry `index`. Raises: VerificationError `log-altered`: none is signed."""
        if not 0 <= index < self.size:
            raise _altered()
        return self._tile(0, index // TILE)[index % TILE]

    def _checked(self, level: int, number: int) -> list[bytes]:
        """A tile of the edge led to the root at the start; a full one must be what the tile above it names."""
        held = min(TILE, self.size // TILE**level - number * TILE)
        full = held == TILE
        hashes = (self._read if full else self._edge)(level, number)
        if len(hashes) < held:
            raise _altered()
        if full and subtree_root(hashes) != self._tile(level + 1, number // TILE)[number % TILE]:
            raise _altered()
        return hashes


def _altered() -> VerificationError:
    return VerificationError(
        "The audit log's tree is not the one that was signed: run casemate audit verify.", code="log-altered"
    )
