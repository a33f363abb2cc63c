"""What changed between two versions too large to be held. Runs in the sandbox."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from casemate.scanning.row_digests import row_digests
from casemate.screening.columns import Ints, Rows
from casemate.screening.encoding import as_text
from casemate.screening.former import SURE, Change
from casemate.screening.judge import Opinion
from casemate.screening.large import SAMPLE, Fitted, Whole, rows_of_block
from casemate.screening.parquet_blocks import ParquetBlocks
from casemate.screening.tables import check_former, refuse_missing


def change_in_blocks(table: ParquetBlocks, former: ParquetBlocks, whole: Whole, fitted: Fitted, *, seed: int) -> Change:
    """As `former.change`, with rows told apart by keyed digests of their values.

    Raises: InputError `screen-former`, `screen-labels`.
    """
    check_former(table.schema, former.schema, [*whole.names, whole.label])
    key = os.urandom(32)
    ours, theirs = (row_digests(one.file(), list(whole.names), key) for one in (table, former))
    names = np.concatenate([as_text(block.column(whole.label)) for block in former.blocks([whole.label])])
    refuse_missing(whole.label, sum(block.column(whole.label).null_count for block in former.blocks([whole.label])))
    classes = tuple(sorted({*whole.classes, *np.unique(names).tolist()}))
    own = np.searchsorted(classes, np.array(whole.classes))[whole.labels]
    added = ~np.isin(ours, theirs)
    before = _with_label(theirs, np.searchsorted(classes, names))
    relabelled = ~added & ~np.isin(_with_label(ours, own), before)
    against = np.zeros(len(ours), bool)
    if added.any():
        opinion = Opinion(_sample(former, whole, fitted, classes, seed), seed)
        start = 0
        for block in table.blocks([*whole.names, whole.label]):
            part = slice(start, start + block.num_rows)
            if added[part].any():
                said = opinion.of(_rows(block, fitted, own[part], classes))
                against[part] = added[part] & (said.max(1) >= SURE) & (said.argmax(1) != own[part])
            start += block.num_rows
    return Change(
        relabelled=relabelled, added=added, against=against, removed=int((~np.isin(theirs, ours)).sum()), shares={}
    )


def _with_label(digests: Any, labels: Ints) -> Any:
    """S25 (n,): a digest and a label, and an end that is no zero byte, which numpy would leave out."""
    joined = np.zeros((len(digests), 25), np.uint8)
    joined[:, :16] = np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, 16)
    joined[:, 16:24] = np.ascontiguousarray(labels, np.int64).view(np.uint8).reshape(-1, 8)
    joined[:, 24] = 1
    return joined.reshape(-1).view("S25")


def _sample(former: ParquetBlocks, whole: Whole, fitted: Fitted, classes: tuple[str, ...], seed: int) -> Rows:
    places = np.sort(np.random.default_rng(seed).permutation(former.num_rows)[:SAMPLE])
    table = former.take(places, [*whole.names, whole.label])
    return _rows(table, fitted, np.searchsorted(classes, as_text(table.column(whole.label))), classes)


def _rows(block: Any, fitted: Fitted, labels: Ints, classes: tuple[str, ...]) -> Rows:
    return rows_of_block(fitted.encoding.encode(block), fitted.encoding, labels.astype(np.int64), classes)
