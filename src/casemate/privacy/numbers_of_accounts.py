"""Cards, bank accounts and national numbers in a normalised text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from casemate.privacy.check_digits import luhn, mod_97_10
from casemate.privacy.context import Words
from casemate.privacy.kinds import Kind
from casemate.privacy.national_ids import NATIONAL_IDS, gb_nhs
from casemate.privacy.spans import Span

_CARD = re.compile(
    r"(?<![\w.])(?<!\d[-/])(?:\d{4}([ .\-/]{1,2})\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ .\-/]{1,2})\d{6}\2\d{4,5}|\d{12,19})(?![\w]|[.\-]\d)"
)
# Source: ISO/IEC 7812 ranges as the networks publish them: (first digits, lengths).
_CARDS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"30[0-5]|309|3[689]"), (14, 15, 16)),
    (re.compile(r"6011|64[4-9]|65|62|81"), (16, 17, 18, 19)),
    (re.compile(r"352[89]|35[3-8]|2131|1800"), (15, 16)),
    (re.compile(r"50|5[6-9]|6[0-9]"), (12, 13, 14, 15, 16, 17, 18, 19)),
    (re.compile(r"220[0-4]|9792|60|65|508|353|356"), (16,)),
)
_CARD_WORDS = Words(("card", "credit", "debit", "visa", "mastercard", "amex", "american express", "cc", "maestro", "kreditkarte", "carte"))  # fmt: skip

_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?\d{2}(?=[ -]?[A-Za-z0-9])")
# Source: SWIFT IBAN registry, the length of each country's.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip

_NHS = re.compile(r"(?<![\w.\-])(?:\d{3}([ -])\d{3}\1\d{4}|\d{10})(?![\w]|[.\-]\d)")
_NHS_WORDS = Words(("nhs", "nhs number"))
# Source: Centers for Medicare & Medicaid Services, the format of the Medicare Beneficiary Identifier.
_MBI = re.compile(r"(?<![\w-])[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}(?![\w-])")  # fmt: skip
_RECORD = re.compile(
    r"(?<!\w)(?:MRN|medical record|med(?:ical)? rec|patient id|patient number|patient no|chart|chart number|hospital number|hospital no|record number|health card|case file)"
    r"(?: {0,2}(?:number|num|no|nr|id|is|was)\b\.?){0,3}[ :#.=\-]{0,4}((?:[A-Za-z]{1,4}[- ]?)?\d[\dA-Za-z\-]{3,14})(?!\w)",
    re.IGNORECASE,
)
_LICENCE = re.compile(
    r"(?<!\w)(?:driver'?s?'? licen[sc]e|driving licen[sc]e|driver licen[sc]e|licen[sc]e number|passport|passport number)(?:[ ,]{1,2}(?:number|num|no|nr|is|was|id|with|the|my|his|her|it's|which|i)\b\.?){0,4}[ :#.=\-]{0,4}((?:[A-Za-z]{0,3}[- ]?|[A-Za-z]{4,7})\d[\dA-Za-z\-]{4,17})(?!\w)",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"(?<!\w)(?:bank account|account number|account no|account nr|account #|acct|routing number|aba|sort code|user id|customer id|member id|policy number)(?: {0,2}(?:number|num|no|nr|is|was|id)\b\.?){0,3}[ :#.=\-]{0,4}([A-Za-z]{0,4}-?\d(?:[- ]?\d){4,17})(?!\w)",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"[^0-9A-Za-z]")


def find_cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards: a network's first digits and length, and Luhn."""
    for match in _CARD.finditer(text):
        digits = _SIGNS.sub("", match[0])
        if len(set(digits)) > 1 and _of_a_network(digits) and luhn(digits):
            grouped = len(digits) < len(match[0])
            near = _CARD_WORDS.are_near(text, *match.span())
            sure = 0.97 if grouped or near else 0.8 if len(digits) > 13 else 0.55
            yield Span(kind=Kind.CARD, start=match.start(), end=match.end(), confidence=sure, recogniser="card")


def _of_a_network(digits: str) -> bool:
    return any(len(digits) in lengths and first.match(digits) for first, lengths in _CARDS)


def find_ibans(text: str) -> Iterator[Span]:
    """International bank account numbers: a country's length, and mod 97; with or without spaces, whatever follows."""
    for match in _IBAN_HEAD.finditer(text):
        length = _IBAN_LENGTHS.get(text[match.start() : match.start() + 2].upper())
        if length is None:
            continue
        number, end = "", match.start()
        while end < len(text) and len(number) < length:
            character = text[end]
            if character.isascii() and character.isalnum():
                number += character
            elif character not in " -" or not (text[end - 1].isalnum() or text[end - 1] == " "):
                break
            end += 1
        ends_here = end == len(text) or not text[end].isalnum()
        if len(number) == length and ends_here and is_iban(number):
            yield Span(kind=Kind.IBAN, start=match.start(), end=end, confidence=1.0, recogniser="iban")


def is_iban(number: str) -> bool:
    """Whether its country has numbers of this length, and the check digits are right. Args: number: letters and digits alone."""
    number = number.upper()
    return _IBAN_LENGTHS.get(number[:2]) == len(number) and number[2:4].isdigit() and mod_97_10(number[4:] + number[:4])


def find_national_ids(text: str, *, in_column: bool = False) -> Iterator[Span]:
    """Args: in_column: the column's name says that it holds such numbers, so that no word needs to stand beside one."""
    for one, words in _WITH_WORDS:
        for match in one.shape.finditer(text):
            number = _SIGNS.sub("", match[0]).upper()
            if not one.valid(number):
                continue
            near = in_column or words.are_near(text, *match.span())
            if near or one.alone:
                yield Span(
                    kind=Kind.NATIONAL_ID,
                    start=match.start(),
                    end=match.end(),
                    confidence=0.95 if near else 0.85,
                    recogniser=f"national-id-{one.country.lower()}",
                )


_WITH_WORDS = tuple((one, Words((*one.words, "national id", "identity number", "id number"))) for one in NATIONAL_IDS)


def find_medical_numbers(text: str, *, in_column: bool = False) -> Iterator[Span]:
    """NHS numbers, Medicare identifiers, and whatever is called a record's number."""
    for match in _NHS.finditer(text):
        if gb_nhs(_SIGNS.sub("", match[0])) and (in_column or _NHS_WORDS.are_near(text, *match.span())):
            yield _medical(match.span(), 0.97, "nhs-number")
    for match in _MBI.finditer(text):
        yield _medical(match.span(), 0.9, "medicare-id")
    for match in _RECORD.finditer(text):
        yield _medical(match.span(1), 0.9, "medical-record")


def _medical(place: tuple[int, int], sure: float, recogniser: str) -> Span:
    return Span(kind=Kind.MEDICAL_RECORD, start=place[0], end=place[1], confidence=sure, recogniser=recogniser)


def find_named_numbers(text: str) -> Iterator[Span]:
    """Numbers without check digits that the text itself names: driving licences, passports, accounts."""
    for pattern, kind, recogniser in ((_LICENCE, Kind.NATIONAL_ID, "licence"), (_ACCOUNT, Kind.ACCOUNT, "account")):
        for match in pattern.finditer(text):
            yield Span(kind=kind, start=match.start(1), end=match.end(1), confidence=0.8, recogniser=recogniser)
