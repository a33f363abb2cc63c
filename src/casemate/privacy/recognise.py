"""Everything that our own recognisers find in one text."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from casemate.privacy.contacts import REGIONS, find_emails, find_machines, find_phones
from casemate.privacy.kinds import Kind
from casemate.privacy.names import find_names
from casemate.privacy.normal_text import normal_text
from casemate.privacy.numbers_of_accounts import (
    find_cards,
    find_ibans,
    find_medical_numbers,
    find_named_numbers,
    find_national_ids,
)
from casemate.privacy.places import find_addresses, find_birth_dates, find_postcodes
from casemate.privacy.spans import Disjoint, Span, without_overlaps

LONGEST = 1 << 20  # characters of one text that are read; a dataset's cell is never longer
THOROUGH = 0.4  # least confidence where what is found is replaced: a word too many costs less than a name too few
_FEW = 3  # digits in a whole text, up to which there is no number of a person, card or account


class Recognition(msgspec.Struct, frozen=True, kw_only=True):
    """How texts are read. Args: least: confidence below which a span is left out; `THOROUGH` keeps what is doubtful. regions: countries whose telephone numbers may
    stand without a +. names: parts of names that are known from elsewhere, in lower case, without accents."""

    least: float = 0.5
    regions: tuple[str, ...] = REGIONS
    names: frozenset[str] = frozenset()


def with_opinion(spans: tuple[Span, ...], others: Iterable[Span]) -> tuple[Span, ...]:
    """Our spans, and those of a second opinion that overlap none."""
    both = Disjoint(spans)
    for span in others:
        both.add(span)
    return tuple(both.spans)


def find_spans(text: str, *, column: Kind | None = None, config: Recognition | None = None) -> tuple[Span, ...]:
    """Personal data in one text, in order, without overlaps. Deterministic, and linear in the length.

    Args: column: what the name of the text's column says that it holds; then a value needs no word beside it.
    """
    config = config or Recognition()
    normal = normal_text(text[:LONGEST])
    plain = normal.text
    found: list[Span] = []
    digits = sum(map(str.isdigit, plain))
    if digits > _FEW:
        found += find_cards(plain)
        found += find_ibans(plain)
        found += find_national_ids(plain, in_column=column is Kind.NATIONAL_ID)
        found += find_medical_numbers(plain, in_column=column is Kind.MEDICAL_RECORD)
        found += find_named_numbers(plain)
        found += find_phones(plain, regions=config.regions, in_column=column is Kind.PHONE)
    if digits:
        found += find_addresses(plain)
        found += find_postcodes(plain, in_column=column is Kind.POSTCODE)
        found += find_birth_dates(plain, in_column=column is Kind.BIRTH_DATE)
    found += find_emails(plain)
    found += find_machines(plain)
    found += find_names(plain, in_column=column is Kind.NAME, known=config.names)
    streets = Disjoint(span for span in found if span.kind is Kind.ADDRESS)  # that are called after people
    kept = without_overlaps(
        span
        for span in found
        if span.confidence >= config.least and not (span.kind is Kind.NAME and streets.meets(span.start, span.end))
    )
    if normal.places is None:
        return kept
    placed = ((span, normal.span(span.start, span.end)) for span in kept)
    return tuple(msgspec.structs.replace(span, start=start, end=end) for span, (start, end) in placed)
