"""Where personal data stands in a text: spans, what the recognisers may know, and which of two that overlap stays."""

from __future__ import annotations

from bisect import bisect_left
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
    kept = Disjoint()
    for span in sorted(spans, key=lambda s: (-s.confidence, s.start - s.end, s.start)):
        kept.add(span)
    return tuple(kept.spans)


class Disjoint:
    """Spans that do not overlap, in order. Asking takes the logarithm of how many there are: a text may hold very many."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans: list[Span] = []
        self._starts: list[int] = []
        for span in spans:
            self.add(span)

    def meets(self, start: int, end: int) -> bool:
        """Whether one of them has a character of these."""
        place = bisect_left(self._starts, end)
        return place > 0 and self.spans[place - 1].end > start

    def add(self, span: Span) -> None:
        """Keep it, unless it overlaps one that is there."""
        if not self.meets(span.start, span.end):
            place = bisect_left(self._starts, span.start)
            self.spans.insert(place, span)
            self._starts.insert(place, span.start)
