"""What becomes of a column's values: one function for each treatment, over distinct values. Runs in the sandbox on foreign rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import numpy as np

from casemate.core import InputError
from casemate.privacy.cells import Opinion
from casemate.privacy.kinds import Treatment
from casemate.privacy.normal_text import normal_text
from casemate.privacy.policy import ColumnRule
from casemate.privacy.pseudonyms import Pseudonyms, Replacements, Reversible
from casemate.privacy.recognise import THOROUGH, Recognition, find_spans, with_opinion

_MASK = "***"
_MOST_DAYS = 10_000  # of noise
_YEAR = re.compile(r"(?<!\d)(1[89]\d{2}|20\d{2})(?!\d)")
_ISO = re.compile(r"\s{0,4}(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_MONTHS_LAST = re.compile(r"\s{0,4}(\d{4})[-/.](\d{1,2})(?!\d)")


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Args: pseudonym, reversible: 32 bytes each; empty: not given. Shown in no traceback."""

    pseudonym: bytes = b""
    reversible: bytes = b""

    def __repr__(self) -> str:
        return "Keys()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def treated(
    name: str, column: Any, rule: ColumnRule, *, keys: Keys, recognition: Recognition, opinion: Opinion | None = None
) -> Any:
    """The column as the rule makes it, None where it is dropped. A value that the treatment cannot read becomes a missing one.

    Raises: InputError `personal-treatment`: the column's type has no such treatment; `personal-key`: a key is missing.
    """
    import pyarrow as pa
    import pyarrow.types as pt

    kind = rule.treatment
    if kind is Treatment.DROP:
        return None
    if kind is Treatment.KEEP:
        return column
    if kind is Treatment.NOISE:
        return _noisy(name, column, rule)
    if kind is Treatment.GENERALISE and rule.to and pt.is_temporal(column.type):
        return _each(column, lambda value: _coarse_day(value, rule.to))
    if kind is Treatment.GENERALISE and rule.width:
        return _banded(name, column, rule)
    return _each(column.cast(pa.string()), _of_text(name, rule, keys, recognition, opinion))


def _of_text(
    name: str, rule: ColumnRule, keys: Keys, recognition: Recognition, opinion: Opinion | None
) -> Callable[[str], str | None]:
    domain = rule.domain or name
    match rule.treatment:
        case Treatment.MASK:
            return lambda text: _MASK + (text[-rule.last :] if rule.last and len(text) >= 4 * rule.last else "")
        case Treatment.PSEUDONYM:
            return Pseudonyms(_given(keys.pseudonym, "--key"), domain).of
        case Treatment.REPLACE:
            return Replacements(_given(keys.pseudonym, "--key"), domain).of
        case Treatment.REVERSIBLE:
            return Reversible(_given(keys.reversible, "--reversible-key"), domain).hidden
        case Treatment.SPANS:
            names = Pseudonyms(_given(keys.pseudonym, "--key"), rule.domain) if rule.domain else None
            return lambda text: without_spans(text, recognition, opinion, names)
        case _:
            return _coarse_text(rule)


def _given(key: bytes, option: str) -> bytes:
    if not key:
        raise InputError(
            f"The policy needs a key: make one with `casemate dataset personal-key`, and name it with {option}.",
            code="personal-key",
        )
    return key


def without_spans(
    text: str, recognition: Recognition, opinion: Opinion | None = None, pseudonyms: Pseudonyms | None = None
) -> str:
    """The text with each span that was found, doubtful ones too, replaced by its kind, as `[email]`, or `[email:PSEUDONYM]`."""
    thorough = msgspec.structs.replace(recognition, least=min(recognition.least, THOROUGH))
    spans = find_spans(text, config=thorough)
    if opinion is not None:
        spans = with_opinion(spans, opinion(text))
    out, last = [], 0
    for span in spans:
        mark = f":{pseudonyms.of(text[span.start : span.end])}" if pseudonyms else ""
        out += [text[last : span.start], f"[{span.kind}{mark}]"]
        last = span.end
    return "".join([*out, text[last:]])


def _each(column: Any, new: Callable[[Any], Any]) -> Any:
    """The column with `new` of each distinct value, which is worked out once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.dictionary_encode(array)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    made = pa.array([new(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return made.take(encoded.indices)


def _coarse_day(value: date | datetime, to: str) -> str:
    if to == "month":
        return f"{value.year:04}-{value.month:02}"
    return f"{value.year:04}" if to == "year" else f"{value.year // 10 * 10:04}s"


def _coarse_text(rule: ColumnRule) -> Callable[[str], str | None]:
    if rule.to:
        return lambda text: _day_in_text(normal_text(text).text, rule.to)
    if rule.network:
        return lambda text: _network(text, rule.network)
    return lambda text: normal_text(text).text.strip()[: rule.first].upper() or None


def _day_in_text(text: str, to: str) -> str | None:
    year = _YEAR.search(text)
    if year is None:
        return None
    if to == "month":
        found = _ISO.match(text) or _MONTHS_LAST.match(text)
        return f"{found[1]}-{int(found[2]):02}" if found and 1 <= int(found[2]) <= 12 else None
    return year[1] if to == "year" else f"{int(year[1]) // 10 * 10}s"


def _network(text: str, bits: int) -> str | None:
    try:
        address = ip_address(normal_text(text).text.strip())
        return str(ip_network(f"{address}/{bits * 2 if address.version == 6 else bits}", strict=False))
    except ValueError:
        return None


def _numbers(name: str, column: Any, what: Treatment) -> Any:
    import pyarrow.types as pt

    if not (pt.is_integer(column.type) or pt.is_floating(column.type)):
        raise InputError(
            f"Column {name[:80]!r} holds {column.type}, no numbers: {what} cannot be done.", code="personal-treatment"
        )
    return column


def _banded(name: str, column: Any, rule: ColumnRule) -> Any:
    _numbers(name, column, rule.treatment)

    width = rule.width

    def band(value: float) -> str | None:
        if not math.isfinite(value) or not math.isfinite(value / width):
            return None
        if rule.top is not None and value >= rule.top:
            return f"{rule.top:.12g}+"
        if isinstance(value, int) and width.is_integer():
            low = value // int(width) * int(width)
            return f"{low}-{low + int(width) - 1}"
        start = math.floor(value / width) * width
        return f"{start:.12g}-{start + width:.12g}"

    return _each(column, band)


def _noisy(name: str, column: Any, rule: ColumnRule) -> Any:
    """Laplace noise, drawn from the system's randomness; the type stays."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    draw = np.random.default_rng()
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    noise = draw.laplace(0.0, rule.scale, len(array))
    if pt.is_temporal(array.type):
        if rule.scale > _MOST_DAYS:
            raise InputError(
                f"Noise on the days of {name[:80]!r}: scale is at most {_MOST_DAYS}.", code="personal-treatment"
            )
        unit = 1 if pt.is_date32(array.type) else 86_400_000_000
        steps = pa.array(np.rint(noise * unit).astype(np.int64))
        plain = array.cast(pa.int32() if unit == 1 else pa.int64()).cast(pa.int64())
        moved = pc.add(plain, steps)
        return moved.cast(pa.int32()).cast(array.type) if unit == 1 else moved.cast(array.type)
    _numbers(name, array, rule.treatment)
    if pt.is_integer(array.type):
        return pc.add(array, pa.array(np.rint(noise).astype(np.int64)))
    return pc.add(array, pa.array(noise))
