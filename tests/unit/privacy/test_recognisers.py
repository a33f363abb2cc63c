"""What is found in a text, what is not, and that no trick of letters hides it."""

from __future__ import annotations

import pytest

from casemate.privacy import Kind, Recognition, find_spans
from casemate.privacy.normal_text import normal_text


def kinds(text: str, **more: object) -> list[tuple[str, str]]:
    return [(s.kind.value, text[s.start : s.end]) for s in find_spans(text, **more)]  # type: ignore[arg-type]


FOUND = [
    ("mail ann.b@example.org, please", [("email", "ann.b@example.org")]),
    ("write to ann [at] example [dot] org", [("email", "ann [at] example [dot] org")]),
    ("call +44 20 7946 0958 now", [("phone", "+44 20 7946 0958")]),
    ("(212) 555-0142", [("phone", "(212) 555-0142")]),
    ("my mobile is 0151 23456789", [("phone", "0151 23456789")]),
    ("4111-1111-1111-1111", [("card", "4111-1111-1111-1111")]),
    ("378282246310005", [("card", "378282246310005")]),
    ("to GB82 WEST 1234 5698 7654 32 or so", [("iban", "GB82 WEST 1234 5698 7654 32")]),
    ("de89370400440532013000", [("iban", "de89370400440532013000")]),
    ("from 203.0.113.9 today", [("ip", "203.0.113.9")]),
    ("2001:db8:85a3::8a2e:370:7334", [("ip", "2001:db8:85a3::8a2e:370:7334")]),
    ("221 Baker Street", [("address", "221 Baker Street")]),
    ("Musterstraße 12", [("address", "Musterstraße 12")]),
    ("12 rue de la Paix", [("address", "12 rue de la Paix")]),
    ("Calle de Alcalá 45", [("address", "Calle de Alcalá 45")]),
    ("postcode SW1A 2AA", [("postcode", "SW1A 2AA")]),
    ("Springfield, IL 62704", [("postcode", "62704")]),
    ("born on 12 May 1983", [("birth-date", "12 May 1983")]),
    ("MRN: 00123456", [("medical-record", "00123456")]),
    ("NHS number 943 476 5919", [("medical-record", "943 476 5919")]),
    ("1EG4-TE5-MK73", [("medical-record", "1EG4-TE5-MK73")]),
    ("Dr. Vukelj will see you", [("name", "Vukelj")]),
    ("we met Maria Lopez there", [("name", "Maria Lopez")]),
    ("My name is Xqrtz", [("name", "Xqrtz")]),
    ("Dear Ludwig van Beethoven, hello", [("name", "Ludwig van Beethoven")]),
    ("driver's license D1234567", [("national-id", "D1234567")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FOUND, ids=[text for text, _ in FOUND])
def test_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(text) == expected


NOT_FOUND = [
    "4111-1111-1111-1112",
    "GB82 WEST 1234 5698 7654 33",
    "XX82WEST12345698765432",
    "release 10.2.3.4 is out, version 1.2.3.4 too",
    "127.0.0.1 and 0.0.0.0",
    "999.1.2.3",
    "2024-01-02 10:15:00",
    "The ISBN is 978-3-16-148410-0",
    "order 12345678 of 2023",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "00000000-0000-4000-8000-000000000000",
    "@property and @staticmethod",
    "In May, Paris and London may meet",
    "Windows 11, Python 3.11 and Chapter 12",
    "",
    "\x00\x01",
]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("４１１１ １１１１ １１１１ １１１１", Kind.CARD),
        ("call ٠٢٠ ٧٩٤٦ ٠٩٥٨", Kind.PHONE),
        ("4\u200b111\u200d1111\u20601111\u00ad1111", Kind.CARD),
        ("ann＠example.org", Kind.EMAIL),
        ("an\u200bn@exam\u00adple.org", Kind.EMAIL),
        ("GВ82 WЕST 1234 5698 7654 32", Kind.IBAN),  # Cyrillic letters
        ("4111   1111  1111 1111", Kind.CARD),
        ("4111\u00a01111\u20021111\u30001111", Kind.CARD),
        ("4111‐1111‑1111–1111", Kind.CARD),
        ("𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏", Kind.CARD),
    ],
)
def test_no_trick_of_letters_hides_a_value(text: str, kind: Kind) -> None:
    (span,) = find_spans(text)
    assert span.kind is kind
    start = 5 if text.startswith("call") else 0
    assert (span.start, span.end) == (start, len(text))


def test_places_are_those_of_the_original() -> None:
    text = "ｎａｍｅ: x\u200by, ann＠example.org, ﬁn"
    normal = normal_text(text)
    start = normal.text.index("ann@")
    assert text[slice(*normal.span(start, start + len("ann@example.org")))] == "ann＠example.org"


def test_regions_and_the_least_confidence_are_settings() -> None:
    text = "Her phone: 03-1234-5678"
    assert kinds(text, config=Recognition(regions=("JP",))) == [("phone", "03-1234-5678")]
    assert kinds("we met Maria Lopez", config=Recognition(least=0.95)) == []


def test_a_column_of_names_believes_whole_cells() -> None:
    assert kinds("Xqrtz Blorp", column=Kind.NAME) == [("name", "Xqrtz Blorp")]
    assert kinds("Xqrtz 12 / 4", column=Kind.NAME) == []
