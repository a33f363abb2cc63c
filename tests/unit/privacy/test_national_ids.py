"""Check digits of thirty countries: numbers that authorities and manuals print as specimens, and the same with one digit changed."""

from __future__ import annotations

import pytest

from casemate.privacy import Kind, find_spans
from casemate.privacy.national_ids import NATIONAL_IDS, il_id

SPECIMENS = {
    "US": ("536-90-4399", "912-72-1234"),
    "GB": ("AB 12 34 56 C", "QQ123456C"),
    "DE": ("86095742719", "65929970489"),
    "FR": ("2 55 08 14 168 025 38",),
    "ES": ("12345678Z", "X1234567L"),
    "IT": ("RSSMRA85T10A562S",),
    "NL": ("111222333",),
    "BE": ("93.05.18-223.61", "85.07.30-033.28"),
    "PL": ("44051401359",),
    "SE": ("811228-9874", "19640823-3234"),
    "FI": ("131052-308T",),
    "NO": ("29029600013",),
    "BR": ("111.444.777-35", "390.533.447-05"),
    "IN": ("2341 2341 2346",),
    "CN": ("11010519491231002X",),
    "AU": ("123 456 782",),
    "CA": ("130-692-544",),
    "ZA": ("8001015009087",),
    "TR": ("10000000146",),
    "CH": ("756.9217.0769.85",),
    "PT": ("123456789",),
    "CL": ("12.345.678-5",),
    "SG": ("S1234567D",),
    "RO": ("1800101221144",),
    "CZ": ("710319/2745",),
    "BG": ("7523169263",),
    "EE": ("37605030299", "33309240064"),
    "HR": ("33392005961",),
    "IL": ("039337423",),
}
REFUSED = {"QQ123456C"}  # the manual's own specimen has a prefix that nobody gets


@pytest.mark.parametrize(("country", "number"), [(c, n) for c, numbers in SPECIMENS.items() for n in numbers])
def test_specimens(country: str, number: str) -> None:
    name = next(one.words[0] for one in NATIONAL_IDS if one.country == country)
    text = f"The {name} {number} is on file"
    found = {s.recogniser for s in find_spans(text) if text[s.start : s.end] == number}
    assert (f"national-id-{country.lower()}" in found or any(f.startswith("national-id-") for f in found)) is (
        number not in REFUSED
    )


@pytest.mark.parametrize("country", sorted(set(SPECIMENS) - {"US", "GB"}))
def test_a_changed_last_character_is_refused(country: str) -> None:
    number = "".join(c for c in SPECIMENS[country][0] if c.isalnum())
    rules = [one for one in NATIONAL_IDS if one.country == country]
    others = "0123456789" if number[-1].isdigit() else "ABCDEFGHJKLMNPQRSTVWXYZ"
    for changed in others.replace(number[-1], ""):
        assert not any(
            one.valid(number[:-1] + changed) for one in rules if one.shape.fullmatch(number[:-1] + changed)
        ), changed


def test_an_ambiguous_number_wants_its_name_beside_it() -> None:
    assert not find_spans("The plant made 111222333 litres")
    found = find_spans("her BSN is 111222333")
    assert [s.kind for s in found] == [Kind.NATIONAL_ID]
    assert il_id("039337423")


def test_there_are_at_least_ten_countries() -> None:
    assert len({one.country for one in NATIONAL_IDS}) >= 30
