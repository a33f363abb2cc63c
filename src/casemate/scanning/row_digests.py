"""Rows as digests: equal rows have equal digests, and nothing of a row is left in one. Runs in the sandbox.

Digests are BLAKE2b of 16 bytes under a key of this one comparison, so that nobody can make two rows that look alike.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

SIZE = 16  # bytes of a digest
_CELL = 1 + SIZE  # bytes of a cell: whether it is missing, and its value
_BATCH_CELLS = 1 << 21  # cells that are looked at together, some 40 MB

Digests = npt.NDArray[np.bytes_]


def row_digests(file: pq.ParquetFile, columns: list[str], key: bytes) -> Digests:
    """S16 (rows,): the digest of each row over `columns`, in this order. Holds one batch in memory."""
    found = np.empty(file.metadata.num_rows, dtype=f"S{SIZE}")
    at = 0
    size = max(1, _BATCH_CELLS // max(1, len(columns)))
    for batch in file.iter_batches(batch_size=size, columns=columns, use_threads=False):
        cells = np.zeros((batch.num_rows, len(columns) * _CELL), dtype=np.uint8)
        for place, name in enumerate(columns):
            cells[:, place * _CELL : (place + 1) * _CELL] = _cells(batch.column(name), key)
        raw, width = cells.tobytes(), cells.shape[1]
        found[at : at + batch.num_rows] = [
            blake2b(raw[start : start + width], digest_size=SIZE, key=key).digest()
            for start in range(0, len(raw), width)
        ]
        at += batch.num_rows
    return found


def _cells(values: pa.Array, key: bytes) -> npt.NDArray[np.uint8]:
    """uint8 (n, 17): a missing value is 1 and zeros, another 0 and its bytes, a text's own digest."""
    missing = pc.is_null(values).to_numpy(zero_copy_only=False)
    cells = np.zeros((len(values), _CELL), dtype=np.uint8)
    cells[:, 0] = missing
    if pt.is_string(values.type) or pt.is_binary(values.type):
        known = values.dictionary_encode()
        raw = known.dictionary.cast(pa.binary()).to_pylist()
        texts = [blake2b(text, digest_size=SIZE, key=key).digest() for text in raw]
        table = np.frombuffer(b"".join([*texts, bytes(SIZE)]), dtype=np.uint8).reshape(-1, SIZE)
        cells[:, 1:] = table[pc.fill_null(known.indices, len(texts)).to_numpy(zero_copy_only=False)]
        return cells
    plain = numbers(values)
    plain[missing] = 0
    cells[:, 1:9] = plain.view(np.uint8).reshape(-1, 8)
    return cells


def numbers(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """int64 or float64 (n,), a copy: times as whole numbers, both zeros alike. A missing value may be anything."""
    if pt.is_floating(values.type):
        return np.asarray(pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False), dtype=np.float64) + 0.0
    if pt.is_date32(values.type):
        values = values.cast(pa.int32())
    whole = values.cast(pa.int64())
    return np.array(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def surplus(found: Digests, against: Digests) -> npt.NDArray[np.int64]:
    """int64 (m,): places in `found` of the rows that `against` has not, or has fewer times; ascending."""
    distinct, inverse, counts = np.unique(found, return_inverse=True, return_counts=True)
    others, other_counts = np.unique(against, return_counts=True)
    allowed = np.zeros(len(distinct), dtype=np.int64)
    _, here, there = np.intersect1d(distinct, others, assume_unique=True, return_indices=True)
    allowed[here] = other_counts[there]
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate(([0], np.cumsum(counts)[:-1])) if len(counts) else np.zeros(0, dtype=np.int64)
    occurrence = np.arange(len(found)) - np.repeat(starts, counts)
    return np.sort(order[occurrence >= np.repeat(allowed, counts)]).astype(np.int64)
