"""Words of texts and patches of images: which of them labels hang on, though nothing else in the row explains it.

A piece is a number of 64 bits. It speaks of a backdoor when its rows bear one label that the rest of what they say is against; and,
less surely, when they bear one label far more often than others do, stand anywhere in that class, and outdo what is usual of a class:
words of a topic are of one class, too.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from casemate.screening.columns import Floats, Ints

_LEAST = 4  # rows with a piece
_MOST = 0.5  # share of the rows that have it
_KEPT = 50_000  # pieces, those that are in most rows
_WEIGHED = 4000  # rows; of a larger table chance counts as in so many
_EXPLAINED = (
    1.1,
    1.6,
)  # times as often among the nearest rows as usual: a piece begins to be, and is, explained by what a row is about
_USUAL = 24  # pieces of a class that speak for it as much, at least, are how that class is written or looks
_RANKS = 0.4  # of evidence that is not against the rest of the row, at most
_OF_CLASS = 0.3  # of a class that has a piece: more, and it is what the class is
_BELIEVED = 0.1  # of a label, however much else is against it
_TOP = 3  # pieces of a row that count

Pieces = list[npt.NDArray[np.uint64]]


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """Args: known: uint64 (v,), ascending: the pieces that some rows share, and not most."""

    known: npt.NDArray[np.uint64]

    def of(self, pieces: Pieces) -> Any:
        """Sparse float32 (n, v): 1 where a row has a piece."""
        from scipy.sparse import csr_matrix

        ends = np.cumsum([0, *map(len, pieces)])
        every = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
        place = np.minimum(np.searchsorted(self.known, every), max(len(self.known) - 1, 0))
        there = (self.known[place] == every) if len(self.known) else np.zeros(len(every), bool)
        kept = np.concatenate([[0], np.cumsum(there)])
        data = np.ones(int(there.sum()), np.float32)
        return csr_matrix((data, place[there], kept[ends]), shape=(len(pieces), len(self.known)))


def vocabulary_of(pieces: Pieces) -> Vocabulary:
    """The pieces that at least four of these rows share, and at most half."""
    every = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    known, counts = np.unique(every, return_counts=True)
    chosen = np.flatnonzero((counts >= _LEAST) & (counts <= max(_LEAST, _MOST * len(pieces))))
    if len(chosen) > _KEPT:
        chosen = np.sort(chosen[np.argsort(-counts[chosen], kind="stable")[:_KEPT]])
    return Vocabulary(known=known[chosen])


class PieceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Args: of: float64 (v,), >= 0, minus the logarithm of the chance that so many rows with the piece bear `label`, int64 (v,),
    against the rest of what they say. planted: the same of pieces that the rest agrees with."""

    of: Floats
    planted: Floats
    label: Ints

    def rows(self, held: Any, labels: Ints) -> Floats:
        """float64 (n,), >= 0: what the pieces of a row that speak for its label say, by the three that say most; 1 is rare.
        What the rest of the row agrees with ranks a row, and names none alone: natural words do that, too.

        Args: held: sparse (n, v), as `Vocabulary.of`.
        """
        return np.maximum(
            _best(held, labels, self.label, self.of), np.minimum(_best(held, labels, self.label, self.planted), _RANKS)
        )


def _best(held: Any, labels: Ints, label: Ints, of: Floats) -> Floats:
    """float64 (n,): a tenth of the sum of the three that say most."""
    held = held.tocsr()
    row = np.repeat(np.arange(held.shape[0]), np.diff(held.indptr))
    said = np.where(label[held.indices] == labels[row], of[held.indices], 0.0)
    kept = said > 0
    row, said = row[kept], said[kept]
    order = np.lexsort((-said, row))
    row, said = row[order], said[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.zeros(held.shape[0])
    np.add.at(found, row[rank < _TOP], said[rank < _TOP])
    return np.asarray(found / 10)


def weigh_pieces(held: Any, labels: Ints, against: Floats, near: Ints) -> PieceEvidence:
    """How much each piece looks planted.

    Args: held: sparse (n, v). against: float64 (n,), what the neighbours think of the label. near: int64 (n, k), places of the nearest rows.
    """
    count, width = held.shape
    classes = int(labels.max()) + 1
    marks = np.zeros((count, classes), np.float32)
    marks[np.arange(count), labels] = 1
    by_label = np.asarray((held.T @ marks).astype(np.float64)) if width else np.zeros((0, classes))
    shares = np.bincount(labels, minlength=classes) / count
    total = by_label.sum(1)
    label = by_label.argmax(1) if width else np.empty(0, np.int64)
    scale, many = min(1.0, _WEIGHED / count), np.log(max(width, 1) * classes) + 4
    usual = np.array(
        [np.median(1 - against[labels == one]) if (labels == one).any() else 1.0 for one in range(classes)]
    )
    middle = float(np.median(1 - against))
    usual = np.where(usual < middle / 2, middle, usual)  # most of a class may be planted
    believed = np.clip((1 - against) / np.maximum(usual, _BELIEVED)[labels], _BELIEVED, 1).astype(np.float32)
    expected = np.asarray((held.T @ (marks * believed[:, None])).astype(np.float64)) / np.maximum(by_label, 1)
    flipped = _chance(by_label, total, expected)[np.arange(width), label] * scale - many
    planted = _chance(by_label, total, np.broadcast_to(shares, by_label.shape))[np.arange(width), label] * scale - many
    within = by_label[np.arange(width), label] / np.maximum(np.bincount(labels, minlength=classes)[label], 1)
    planted[within > _OF_CLASS] = 0
    chosen = np.flatnonzero(planted > 0)
    planted[chosen] *= _unexplained(held.tocsc()[:, chosen].tocsr(), labels, label[chosen], by_label[chosen], near)
    for one in range(classes):
        mine = np.flatnonzero(label == one)
        if len(mine) > _USUAL:
            planted[mine] -= np.sort(planted[mine])[-_USUAL - 1].clip(0)
    return PieceEvidence(of=np.maximum(flipped, 0), planted=np.maximum(planted, 0), label=label)


def _chance(hits: Floats, tries: Floats, rates: Floats) -> Floats:
    """float64 (v, classes): minus the logarithm of the chance of so many hits; 0 for fewer than four."""
    found = -binom.logsf(hits - 1, tries[:, None], np.clip(rates, 1e-6, 1 - 1e-6))
    return np.where(hits < _LEAST, 0.0, found)


def _unexplained(held: Any, labels: Ints, label: Ints, by_label: Floats, near: Ints) -> Floats:
    """float64 (v,) in 0..1: 1 where the rows nearest to those with a piece have it as seldom as any row, or any of that label, has."""
    from scipy.sparse import csr_matrix

    count, width = held.shape
    if not width:
        return np.empty(0)
    row = np.repeat(np.arange(count), near.shape[1])
    graph = csr_matrix(
        (np.full(len(row), 1 / near.shape[1], np.float32), near.ravel(), np.arange(count + 1) * near.shape[1]),
        shape=(count, count),
    )
    around = graph @ held  # (n, v): the share of a row's neighbours that have the piece
    both = held.multiply(around)
    total = by_label.sum(1)
    seen = np.asarray(both.sum(0), np.float64).ravel() / np.maximum(total, 1)
    of_label = np.bincount(labels, minlength=by_label.shape[1]).astype(np.float64)
    within = by_label[np.arange(width), label] / np.maximum(of_label[label], 1)
    lift = np.minimum(seen / np.maximum(total / count, 1e-9), seen / np.maximum(within, 1e-9))
    low, high = np.log(_EXPLAINED)
    return np.asarray(np.clip((high - np.log(np.maximum(lift, 1e-9))) / (high - low), 0, 1))
