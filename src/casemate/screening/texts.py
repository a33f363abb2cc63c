"""Free texts as numbers, without any model from elsewhere: hashed words, what a text is about by them, and which it holds."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.screening.columns import Floats

WIDTH = 1 << 15  # columns that words are hashed to
TOPICS = 48  # numbers that say what a text is about
HALVES = 8  # random halves of the words, of which each says it again
_OF_HALF = 16  # numbers of a half
_CHARACTERS = 20_000  # of a text that are read; what stands behind them is not looked at
_LEARNT = 4000  # texts that topics are learnt from, at most
_LEAST = 4  # texts, in which a word stands that says something
_PART = re.compile(r"\w+|[^\w\s]")  # a word, or one sign, invisible ones too
_LONG = 40  # characters of a word; of a longer one its beginning is the word


def is_free(values: Sequence[str]) -> bool:
    """Whether these are texts of some words each, and not names, codes or categories. Args: values: some of the column's."""
    words = [len(value.split()) for value in values if value]
    return bool(words) and float(np.mean(words)) >= 4


class Worded(msgspec.Struct, frozen=True, kw_only=True):
    """Texts. Args: counts: sparse (n, WIDTH) float32: how often each word stands. pieces: n arrays of uint64: words, pairs
    of words and signs, each once."""

    counts: Any
    pieces: list[npt.NDArray[np.uint64]]


def worded(texts: Sequence[str]) -> Worded:
    """The words of texts; equal words are equal in every answer."""
    from scipy.sparse import csr_matrix

    places: list[npt.NDArray[np.int64]] = []
    pieces: list[npt.NDArray[np.uint64]] = []
    for text in texts:
        parts = [part[:_LONG] for part in _PART.findall(text[:_CHARACTERS].lower())]
        words = np.array([zlib.crc32(part.encode("utf-8", "replace")) for part in parts], np.uint64)
        places.append((words % np.uint64(WIDTH)).astype(np.int64))
        with np.errstate(over="ignore"):
            pairs = words[:-1] * np.uint64(0x9E3779B97F4A7C15) + words[1:] + np.uint64(1 << 40)
        pieces.append(np.unique(np.concatenate([words, pairs])))
    ends = np.cumsum([0, *map(len, places)])
    columns = np.concatenate(places) if places else np.empty(0, np.int64)
    counts = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(texts), WIDTH))
    counts.sum_duplicates()
    return Worded(counts=counts, pieces=pieces)


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """What texts are about, as learnt from some. Args: weights: float32 (WIDTH,), of a word. axes: (WIDTH, k) of all words;
    halves: of random halves of them, so that no single word is in all. spreads: float64 (k,) in 0..1, how far texts differ
    along each axis, beside the farthest."""

    weights: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float32]
    halves: tuple[npt.NDArray[np.float32], ...]
    spreads: Floats

    def of(self, counts: Any) -> Floats:
        """float64 (n, k)."""
        return np.asarray(_weighed(counts, self.weights) @ self.axes, np.float64)

    def views(self, counts: Any) -> list[Floats]:
        """HALVES times float64 (n, 16), from words of that half alone."""
        found = []
        for axes in self.halves:
            part = np.asarray(_weighed(counts, self.weights * (np.abs(axes).sum(1) > 0)) @ axes, np.float64)
            found.append(part)
        return found


def learn_topics(counts: Any, seed: int) -> Topics:
    """Topics of texts, by latent semantic analysis. Source: Deerwester et al., 1990."""
    rng = np.random.default_rng(seed)
    some = counts[np.sort(rng.permutation(counts.shape[0])[:_LEARNT])]
    there = np.asarray((some > 0).sum(0)).ravel()
    weights = np.where(there >= _LEAST, np.log((1 + some.shape[0]) / (1 + there)) + 1, 0).astype(np.float32)
    halves = []
    for half in range(HALVES):
        kept = np.random.default_rng([seed, half]).random(WIDTH) < 0.5
        halves.append(_axes(some, weights * kept, _OF_HALF, seed + half))
    axes = _axes(some, weights, TOPICS, seed)
    spreads = np.asarray(_weighed(some, weights) @ axes, np.float64).std(0)
    return Topics(weights=weights, axes=axes, halves=tuple(halves), spreads=spreads / max(float(spreads.max()), 1e-9))


def _axes(some: Any, weights: npt.NDArray[np.float32], count: int, seed: int) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import TruncatedSVD

    used = np.flatnonzero(weights > 0)
    axes = np.zeros((WIDTH, min(count, max(1, len(used) - 1))), np.float32)
    if len(used) > axes.shape[1]:
        model = TruncatedSVD(axes.shape[1], n_iter=4, random_state=seed)
        model.fit(_weighed(some, weights)[:, used])
        axes[used] = model.components_.T
    return axes


def _weighed(counts: Any, weights: npt.NDArray[np.float32]) -> Any:
    """Each text of length 1, however long it is."""
    from scipy.sparse import diags

    logged = counts.copy()
    logged.data = np.log1p(logged.data)
    table = logged @ diags(weights)
    lengths = np.sqrt(np.asarray(table.multiply(table).sum(1)).ravel())
    return (diags(1 / np.maximum(lengths, 1e-6)) @ table).tocsr()
