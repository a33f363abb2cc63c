"""One column's cells: what of a person they hold, as counts. Runs in the sandbox on foreign rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from casemate.core import DataClass
from casemate.privacy.context import kind_of_column, says_names
from casemate.privacy.kinds import QUASI, Kind, Treatment, class_of, proposed_treatment
from casemate.privacy.name_lists import is_given_name, is_ordinary, is_surname
from casemate.privacy.names import parts_of_names
from casemate.privacy.normal_text import plain_letters
from casemate.privacy.recognise import Recognition, find_spans, with_opinion
from casemate.privacy.report import ColumnReport, FoundKind, PersonalConfig
from casemate.privacy.spans import Span

Opinion = Callable[[str], Sequence[Span]]
BY_NAME = "column-name"
_SHOWN = 48  # characters of a masked example
_PROSE = 0.3  # share of cells with three words or more, from which a column is text that people wrote
_MOST_CODE = 20  # digits of a number in a column of numbers
_LISTED_NAMES = 0.5  # share of the cells of a column `name` that the lists know, from which it is about people
_NAME_WORDS = 5
_MOST_NAMES = 200_000  # different values of a column of names, up to which they are known in the other columns
# What chance makes in columns of codes: one in ten numbers has the right check digit.
_BY_CHANCE = frozenset(
    {Kind.CARD, Kind.NATIONAL_ID, Kind.MEDICAL_RECORD, Kind.PHONE, Kind.POSTCODE, Kind.NAME, Kind.ADDRESS}
)
# Kinds that are believed by the column's name alone, since their values have no form.
_WITHOUT_FORM = frozenset({Kind.SEX, Kind.HEALTH, Kind.ACCOUNT, Kind.AGE, Kind.ADDRESS, Kind.NAME, Kind.MEDICAL_RECORD, Kind.NATIONAL_ID, Kind.POSTCODE, Kind.BIRTH_DATE})  # fmt: skip
_OF_NUMBERS = frozenset({Kind.AGE, Kind.POSTCODE, Kind.PHONE, Kind.CARD, Kind.NATIONAL_ID, Kind.MEDICAL_RECORD, Kind.ACCOUNT, Kind.HEALTH, Kind.SEX, Kind.BIRTH_DATE, Kind.ADDRESS})  # fmt: skip
_OF_DATES = frozenset({Kind.BIRTH_DATE, Kind.HEALTH})


def masked(text: str) -> str:
    """The form of a value alone: letters are x, digits are 9, and long ones are cut."""
    form = "".join(
        "9" if c.isdigit() else "x" if c.isalpha() else c if c.isascii() and c.isprintable() else "."
        for c in text[:_SHOWN]
    )
    return form + "..." if len(text) > _SHOWN else form


def recognition_for(table: Any, config: PersonalConfig) -> Recognition:
    """How the texts of a table are read: a name that one of its columns holds is known in all of them."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    names: set[str] = set()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pt.is_string(column.type) and kind_of_column(name) is Kind.NAME:
            values = [(text, 1) for text in pc.unique(column.drop_null()).to_pylist()]
            if len(values) <= _MOST_NAMES and values and (says_names(name) or _are_people(values)):
                names.update(part for text, _ in values for part in parts_of_names(text[:200]))
    return Recognition(least=config.least, regions=config.regions, names=frozenset(names))


def look_at_column(
    name: str,
    column: Any,
    type_name: str,
    *,
    config: PersonalConfig,
    recognition: Recognition,
    opinion: Opinion | None = None,
) -> ColumnReport:
    """Args: column: Arrow, of plain types. opinion: a second recogniser of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    counts = pc.value_counts(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    values = [
        (v, n)
        for v, n in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        if v is not None
    ]
    said = kind_of_column(name)
    if pt.is_string(column.type):
        kinds = _of_texts(values, said, config, recognition, opinion, surely=says_names(name))
    elif pt.is_integer(column.type):
        kinds = _of_numbers(values, said, config, recognition)
    elif pt.is_temporal(column.type):
        kinds = [_by_name(said, values)] if said in _OF_DATES and values else []
    else:
        kinds = [_by_name(said, values)] if said in (Kind.AGE, Kind.HEALTH, Kind.SEX, Kind.ADDRESS) and values else []
    kinds.sort(key=lambda one: (-one.confidence * one.share, one.kind))
    return ColumnReport(
        name=name,
        type=type_name,
        values=sum(n for _, n in values),
        distinct=len(values),
        kinds=tuple(kinds),
        treatment=_treatment(kinds),
        data_class=_class(kinds),
    )


def _treatment(kinds: list[FoundKind]) -> Treatment:
    if not kinds:
        return Treatment.KEEP
    first = kinds[0]
    return proposed_treatment(first.kind) if first.whole >= 0.5 or BY_NAME in first.by else Treatment.SPANS


def _class(kinds: list[FoundKind]) -> DataClass | None:
    classes = [class_of(one.kind) for one in kinds]
    return max(classes, key=lambda one: one.rank) if classes else None


class _Count:
    """Cells of one kind, as they are seen."""

    def __init__(self) -> None:
        self.cells = self.whole = 0
        self.sure = 0.0
        self.example = ""
        self.by: set[str] = set()

    def add(self, cells: int, text: str, spans: list[Span]) -> None:
        self.cells += cells
        covered = sum(s.end - s.start for s in spans)
        self.whole += cells if covered >= 0.8 * len(text.strip()) else 0
        best = max(spans, key=lambda s: s.confidence)
        if best.confidence > self.sure:
            self.sure, self.example = best.confidence, masked(text[best.start : best.end])
        self.by.update(s.recogniser for s in spans)

    def found(self, kind: Kind, total: int, *, named: bool) -> FoundKind:
        return FoundKind(
            kind=kind,
            count=self.cells,
            share=round(self.cells / total, 4),
            whole=round(self.whole / total, 4),
            confidence=round(min(1.0, self.sure + 0.05 * named), 3),
            example=self.example,
            by=tuple(sorted({*self.by, BY_NAME} if named else self.by)),
        )


def _of_texts(
    values: list[tuple[str, int]],
    said: Kind | None,
    config: PersonalConfig,
    recognition: Recognition,
    opinion: Opinion | None,
    *,
    surely: bool,
) -> list[FoundKind]:
    total = sum(n for _, n in values)
    if not total:
        return []
    counted: dict[Kind, _Count] = defaultdict(_Count)
    prose = sum(n for text, n in values if text.count(" ") > 1) >= _PROSE * total
    trusted = said if said is not Kind.NAME or surely or _are_people(values) else None
    for text, cells in values:
        spans = find_spans(text, column=trusted, config=recognition)
        if opinion is not None and prose:
            spans = with_opinion(spans, opinion(text))
        for kind in {span.kind for span in spans}:
            counted[kind].add(cells, text, [s for s in spans if s.kind is kind])
    found = [
        count.found(kind, total, named=kind is trusted)
        for kind, count in counted.items()
        if prose or kind is trusted or kind not in _BY_CHANCE or count.cells >= config.share * total
    ]
    if trusted in _WITHOUT_FORM and trusted not in counted:
        found.append(_by_name(trusted, values))
    return found


def _are_people(values: list[tuple[str, int]]) -> bool:
    """Whether the lists know the words of enough of the cells; of a sample, evenly drawn."""
    step = max(1, len(values) // 2000)
    sample = [text for text, _ in values[::step]]
    known = sum(any(s.kind is Kind.NAME for s in find_spans(text[:200])) or _is_one_name(text) for text in sample)
    return known >= _LISTED_NAMES * len(sample)


def _is_one_name(text: str) -> bool:
    words = plain_letters(text).replace(",", " ").replace("-", " ").split()
    names = [word for word in words if (is_given_name(word) or is_surname(word)) and not is_ordinary(word)]
    return 0 < len(words) <= _NAME_WORDS and (
        len(names) == len(words) or (text[:1].isupper() and any(map(is_given_name, names)))
    )


def _of_numbers(
    values: list[tuple[int, int]], said: Kind | None, config: PersonalConfig, recognition: Recognition
) -> list[FoundKind]:
    total = sum(n for _, n in values)
    if not total:
        return []
    counted: dict[Kind, _Count] = defaultdict(_Count)
    long = [(str(v), n) for v, n in values if 10**8 <= v < 10**_MOST_CODE]
    if sum(n for _, n in long) >= config.share * total:
        for text, cells in long:
            for span in find_spans(text, column=said, config=recognition):
                if span.end - span.start == len(text):
                    counted[span.kind].add(cells, text, [span])
    least = config.share if said in counted else max(config.share, 0.9)
    found = [c.found(k, total, named=k is said) for k, c in counted.items() if c.cells >= least * total]
    if said in _OF_NUMBERS and said not in {one.kind for one in found} and _is_plausible(said, values):
        found.append(_by_name(said, values))
    return found


def _is_plausible(kind: Kind, values: list[tuple[int, int]]) -> bool:
    low, high = min(v for v, _ in values), max(v for v, _ in values)
    bounds = {
        Kind.AGE: (0, 125),
        Kind.PHONE: (10**6, 10**15),
        Kind.CARD: (10**11, 10**19),
        Kind.POSTCODE: (0, 10**9),
        Kind.BIRTH_DATE: (1800, 2_100_12_31),
        Kind.NATIONAL_ID: (10**5, 10**18),
    }
    least, most = bounds.get(kind, (0, 1 << 63))
    return least <= low and high <= most and (kind not in (Kind.MEDICAL_RECORD, Kind.ACCOUNT) or len(values) > 2)


def _by_name(kind: Kind, values: Sequence[tuple[Any, int]]) -> FoundKind:
    total = sum(n for _, n in values)
    return FoundKind(
        kind=kind,
        count=total,
        share=1.0,
        whole=1.0,
        confidence=0.7,
        example=masked(str(values[0][0])) if values else "",
        by=(BY_NAME,),
    )


def is_quasi(report: ColumnReport) -> bool:
    """Whether the column names nobody alone, and does with others."""
    return bool(report.kinds) and all(one.kind in QUASI for one in report.kinds)
