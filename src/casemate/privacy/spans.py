"""Where personal data stands in a text: spans, what the recognisers may know, and which of two that overlap stays."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from casemate.privacy.kinds import Kind


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Args: start, end: characters of the original text. confidence: over 0 to 1. recogniser: which one says so, e.g. `iban` or
    `national-id-es`."""

    kind: Kind
    start: int
    end: int
    confidence: float
    recogniser: str


def without_overlaps(spans: Iterable[Span]) -> tuple[Span, ...]:
    """In order of the text; of two that overlap the surer stays, of equally sure ones the longer."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.confidence, s.start - s.end, s.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept, key=lambda s: s.start))
