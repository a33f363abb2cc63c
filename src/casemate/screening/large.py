"""A table too large to be held: models are fitted on a sample of its rows, and the others are judged block by block.

The table is read three times: to count, to judge, and to name what was found. What stays in memory is the sample and some 120
bytes for each row, however wide a row is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from casemate.core import InputError
from casemate.screening.asked import Progress
from casemate.screening.clusters import clusters_by_key
from casemate.screening.columns import Bools, Floats, Ints, Rows, filled, rows_of
from casemate.screening.encoding import Block, Counts, Encoding, as_numbers, as_text
from casemate.screening.former import BASE, alarmed_by
from casemate.screening.judge import Judge, Judgement
from casemate.screening.labels import LabelErrors
from casemate.screening.tables import feature_columns, refuse_missing

SAMPLE = 20_000  # rows that everything is fitted on
_FEW_CLASSES = 1000  # as `rows_of`; more are refused once they are counted
_SEED = 20260101


class Table(Protocol):
    """Rows in blocks of `block`, as often as they are asked for, in one order."""

    @property
    def schema(self) -> Any: ...

    @property
    def num_rows(self) -> int: ...

    @property
    def block(self) -> int: ...

    def blocks(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Arrow tables or record batches."""
        ...


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """What the detectors say of every row. Args: rows: labels, contributors and times; features and values stay where they were."""

    rows: Rows
    errors: LabelErrors
    trigger: Floats
    odd: Floats
    clusters: Ints
    drifted: Bools
    height: float


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """All that judging a block needs: it can be sent to another process, and says the same there."""

    encoding: Encoding
    judge: Judge
    label: str
    classes: tuple[str, ...]

    def judge_block(self, block: Any) -> tuple[Judgement, Bools | None]:
        """What its rows look like, and which images of it could not be read. Args: block: Arrow table or record batch."""
        with threadpool_limits(1):  # the last bits of a sum depend on how many there are
            encoded = self.encoding.encode(block)
            labels = np.searchsorted(np.array(self.classes), as_text(block.column(self.label)))
            rows = rows_of_block(encoded, self.encoding, labels.astype(np.int64), self.classes)
            return self.judge.judge(rows), encoded.unread


class Whole:
    """What is read of every row at first: labels, contributors and times, and how often each text stands in each column."""

    def __init__(self, table: Table, columns: dict[str, str | None], *, sample: int, seed: int) -> None:
        import pyarrow as pa

        self.label, contributor, time = str(columns["label"]), columns["contributor"], columns["time"]
        self.names = feature_columns(table.schema, label=self.label, contributor=contributor, time=time)
        self.counts = Counts(table.schema, self.names)
        wanted = np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:sample])
        labels, givers = _Codes(), _Codes()
        times: list[Floats] = []
        parts: list[Any] = []
        start = missing = 0
        for block in table.blocks():
            missing += block.column(self.label).null_count
            self.counts.add(block)
            labels.add(as_text(block.column(self.label)), most=_FEW_CLASSES)
            if contributor is not None:
                givers.add(as_text(block.column(contributor)))
            if time is not None:
                times.append(as_numbers(block.column(time)))
            mine = wanted[(wanted >= start) & (wanted < start + block.num_rows)] - start
            if len(mine):
                some = block.take(pa.array(mine))
                parts.append(some if isinstance(some, pa.Table) else pa.Table.from_batches([some]))
            start += block.num_rows
        refuse_missing(self.label, missing)
        self.places = wanted
        self.sample = pa.concat_tables(parts).select([*self.names, self.label])
        self.classes, self.labels = labels.ordered()
        said = givers.ordered() if contributor is not None else None
        self.contributors: Ints | None = None if said is None else said[1]
        self.contributor_names: tuple[str, ...] = () if said is None else said[0]
        self.times = filled(np.concatenate(times)[:, None])[:, 0] if times else None

    def rows(self) -> Rows:
        """Every row, without features. Raises: InputError, as `rows_of`."""
        checked = rows_of(np.zeros((len(self.labels), 1)), np.array(self.classes)[self.labels])
        return msgspec.structs.replace(
            checked,
            features=np.zeros((len(self.labels), 0)),
            contributors=self.contributors,
            names=self.contributor_names,
            times=self.times,
        )


class _Codes:
    """Texts as small numbers, as they come."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._found: list[Ints] = []

    def add(self, values: Any, *, most: int = 1 << 40) -> None:
        names, places = np.unique(values, return_inverse=True)
        codes = np.array([self._known.setdefault(str(name), len(self._known)) for name in names], np.int64)
        if len(self._known) > most:
            raise InputError(
                f"The label has over {most} values: it must be a class, not a number or an id.", code="screen-labels"
            )
        self._found.append(codes[places])

    def ordered(self) -> tuple[tuple[str, ...], Ints]:
        """The texts in order, and the place of each row's among them."""
        names = sorted(self._known)
        place = np.empty(len(names), np.int64)
        for number, name in enumerate(names):
            place[self._known[name]] = number
        return tuple(names), place[np.concatenate(self._found)]


def fit(
    table: Table, columns: dict[str, str | None], *, sample: int = SAMPLE, seed: int = _SEED
) -> tuple[Whole, Fitted]:
    """Count, and fit on a sample. Raises: InputError, as `rows_of_table`."""
    whole = Whole(table, columns, sample=sample, seed=seed)
    whole.rows()
    encoding = Encoding(whole.counts, table.schema, whole.names, whole.sample, seed=seed)
    rows = rows_of_block(encoding.learnt(), encoding, whole.labels[whole.places], whole.classes)
    oldest = None
    if whole.times is not None:
        edge = np.sort(whole.times)[max(int(BASE * len(whole.times)) - 1, 0)]
        early = whole.times[whole.places] <= edge
        oldest = rows.only(early) if early.sum() >= 100 and len(np.unique(rows.labels[early])) > 1 else None
    judge = Judge(rows, seed=seed, oldest=oldest)
    return whole, Fitted(encoding=encoding, judge=judge, label=whole.label, classes=whole.classes)


def detect(table: Table, whole: Whole, fitted: Fitted, progress: Progress, *, judged: Any = None) -> Detected:
    """Judge every block, here or as `judged` says. Args: judged: iterator of what `Fitted.judge_block` says of each block, in order."""
    total = -(-table.num_rows // table.block)
    found: list[Judgement] = []
    unread: list[Bools] = []
    done = 0
    for one, images in judged if judged is not None else map(fitted.judge_block, _known(table, whole)):
        found.append(one)
        done += len(one.likely)
        if images is not None:
            unread.append(images)
        progress(min(-(-done // table.block), total), total)
    return _together(whole, found, unread)


def _known(table: Table, whole: Whole) -> Iterator[Any]:
    return table.blocks([*whole.names, whole.label])


def _together(whole: Whole, found: list[Judgement], unread: list[Bools]) -> Detected:
    rows = whole.rows()
    if unread:
        rows = msgspec.structs.replace(rows, unread=np.concatenate(unread))

    def column(name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in found])

    likely = column("likely").astype(np.float64)
    width = len(whole.classes)
    errors = LabelErrors(
        likely=likely, meant=column("meant").astype(np.int64), rates=np.eye(width), said=np.empty((0, width))
    )
    drifted, height = np.zeros(len(rows), bool), 0.0
    if found[0].late is not None and whole.times is not None:
        drifted, height = alarmed_by(column("late").astype(np.float64), whole.times)
    return Detected(
        rows=rows,
        errors=errors,
        trigger=column("trigger").astype(np.float64),
        odd=column("odd").astype(np.float64),
        clusters=clusters_by_key(column("cells")),
        drifted=drifted,
        height=height,
    )


def rows_of_block(block: Block, encoding: Encoding, labels: Ints, classes: tuple[str, ...]) -> Rows:
    """Rows of a block, with labels as places in `classes`."""
    return Rows(
        features=block.features,
        labels=labels,
        classes=classes,
        feature_names=encoding.feature_names,
        weights=encoding.weights,
        surface=block.surface,
        views=block.views,
        pieces=block.pieces,
        unread=block.unread,
    )
