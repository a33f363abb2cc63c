"""Sentences with personal data, each span labelled, and sentences without any: two halves that share no sentence, for tuning and measuring.

Names, streets and telephone numbers of the outside corpus are of FakeNameGenerator.com, 24 name sets and 31 countries, and its
sentences of presidio-evaluator (MIT), where that package's data lie in `.venv-personal` (`make bench-personal`). Our own sentences
hold numbers of thirty countries; their values are drawn here, and their check digits found by trying. Odd and even sentences part
the halves, in both.
"""

from __future__ import annotations

import csv
import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from casemate.privacy.check_digits import luhn
from casemate.privacy.kinds import Kind
from casemate.privacy.national_ids import NATIONAL_IDS
from casemate.privacy.numbers_of_accounts import _IBAN_LENGTHS, is_iban
from personal_sentences import BENIGN, OWN

OUTSIDE = Path(__file__).parent.parent / ".venv-personal" / "presidio_evaluator" / "data_generator" / "raw_data"
TUNE, MEASURE = 0, 1
SEEDS = {TUNE: (1, 2, 3), MEASURE: (101, 102, 103)}


class Labelled(NamedTuple):
    """A text, and (kind, start, end) of each value of a person in it."""

    text: str
    spans: tuple[tuple[Kind, int, int], ...]


_FIELD = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_0-9]+)\}")


def filled(template: str, value: Callable[[str], tuple[str, Kind | None]]) -> Labelled:
    out, spans, at, last = [], [], 0, 0
    for field in _FIELD.finditer(template):
        out.append(template[last : field.start()])
        at += len(out[-1])
        text, kind = value(field[1] or field[2])
        if kind is not None:
            spans.append((kind, at, at + len(text)))
        out.append(text)
        at += len(text)
        last = field.end()
    return Labelled("".join([*out, template[last:]]), tuple(spans))


# The outside corpus.

_NAMES = {"person", "name", "name_male", "name_female", "first_name", "first_name_male", "first_name_female", "first_name_nonbinary", "last_name", "last_name_male", "last_name_female"}  # fmt: skip
_PLAIN = {
    "prefix": ("Mr.", "Mrs.", "Dr."), "prefix_male": ("Mr.", "Dr."), "prefix_female": ("Mrs.", "Ms.", "Dr."), "nationality": ("Italian", "Thai", "Peruvian"),
    "nation_woman": ("Frenchwoman",), "nation_plural": ("Danes", "Italians"), "organization": ("Globex", "Initech", "Umbrella Corp", "Acme Ltd"),
    "job": ("plumber", "teacher", "data analyst"), "day_of_week": ("Monday", "Friday"), "state_abbr": ("CA", "TX", "NY"), "building_number": ("12", "7", "301"),
    "street_name": ("Elm Tree", "Harbour View"), "secondary_address": ("Apt. 12", "Suite 4"),
}  # fmt: skip


def outside(half: int, seed: int) -> list[Labelled]:
    """Raises: FileNotFoundError: the data are not there."""
    templates = [
        line for line in (OUTSIDE / "templates.txt").read_text("utf-8", "replace").splitlines() if line.strip()
    ]
    with (OUTSIDE / "FakeNameGenerator.com_3000.csv").open(encoding="utf-8-sig") as file:
        people = list(csv.DictReader(file))
    licences = [row.strip() for row in (OUTSIDE / "us_driver_licenses.csv").read_text().splitlines() if row.strip()]
    draw = random.Random(seed * 2 + half)
    made = []
    for template in templates[half::2]:
        person = draw.choice(people)
        made.append(
            filled(
                template.replace("\\n", "\n"),
                lambda field, person=person: _outside_value(
                    field, draw, draw.choice(people) if draw.random() < 0.5 else person, licences
                ),
            )
        )
    return made


def _outside_value(
    field: str, draw: random.Random, person: dict[str, str], licences: list[str]
) -> tuple[str, Kind | None]:
    given, surname = person["GivenName"], person["Surname"]
    if field in _NAMES:
        if field.startswith("first"):
            return given, Kind.NAME
        return (surname if field.startswith("last") else f"{given} {surname}"), Kind.NAME
    match field:
        case "address":
            return person["StreetAddress"], Kind.ADDRESS
        case "phone_number":
            number, country = person["TelephoneNumber"], person["TelephoneCountryCode"]
            return (f"+{country} {number}" if draw.random() < 0.5 else number), Kind.PHONE
        case "email":
            return person["EmailAddress"], Kind.EMAIL
        case "credit_card_number":
            return card(draw), Kind.CARD
        case "iban":
            return iban(draw), Kind.IBAN
        case "ssn":
            return ssn(draw), Kind.NATIONAL_ID
        case "ip_address":
            return ip(draw), Kind.IP
        case "date_of_birth":
            return person["Birthday"], Kind.BIRTH_DATE
        case "us_driver_license":
            return draw.choice(licences), Kind.NATIONAL_ID
        case "zipcode":
            return f"{draw.randrange(10000, 99999)}", Kind.POSTCODE
        case "postcode":
            return person["ZipCode"], None
        case "city":
            return person["City"], None
        case "country":
            return person["CountryFull"], None
        case "age":
            return person["Age"], None
        case "year":
            return str(draw.randrange(1950, 2020)), None
        case "date_time":
            return f"{draw.randrange(1, 28)} May {draw.randrange(1990, 2020)}", None
        case "url":
            return f"https://www.{person['Domain'].lower()}/", None
        case _:
            return draw.choice(_PLAIN[field]), None


# Values with check digits, found by trying.


def digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choice(string.digits) for _ in range(count))


def card(draw: random.Random) -> str:
    prefix, length = draw.choice(
        (
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("37", 15),
            ("6011", 16),
            ("36", 14),
            ("3530", 16),
            ("4", 13),
            ("2221", 16),
            ("62", 19),
        )
    )
    body = prefix + digits(draw, length - len(prefix) - 1)
    number = next(body + d for d in string.digits if luhn(body + d))
    sign = draw.choice(("", " ", "-", " "))
    if length == 16:
        return sign.join(number[i : i + 4] for i in range(0, 16, 4))
    return sign.join((number[:4], number[4:10], number[10:])) if length == 15 else number


def iban(draw: random.Random) -> str:
    country = draw.choice(("GB", "DE", "FR", "NL", "ES", "IT", "PL", "CH", "SE", "NO", "BE", "AT"))
    length = _IBAN_LENGTHS[country]
    bank = (
        "".join(draw.choice(string.ascii_uppercase) for _ in range(4)) if country in ("GB", "NL") else digits(draw, 4)
    )
    body = bank + digits(draw, length - 8)
    number = next(f"{country}{c:02}{body}" for c in range(2, 99) if is_iban(f"{country}{c:02}{body}"))
    return " ".join(number[i : i + 4] for i in range(0, length, 4)) if draw.random() < 0.5 else number


def ssn(draw: random.Random) -> str:
    return f"{draw.randrange(1, 665):03}-{draw.randrange(1, 99):02}-{draw.randrange(1, 9999):04}"


def ip(draw: random.Random) -> str:
    if draw.random() < 0.2:
        return ":".join(f"{draw.randrange(1, 65535):x}" for _ in range(8))
    return (
        f"{draw.randrange(11, 223)}.{digits(draw, 2).lstrip('0') or '1'}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
    )


_WRITTEN = {  # how each country's number is mostly written: 9 a digit, A a letter
    "US": "999-99-9999", "GB": "AA 99 99 99 A", "DE": "99 999 999 999", "FR": "9 99 99 99 999 999 99", "ES": "99999999A", "NL": "999999999",
    "BE": "99.99.99-999.99", "PL": "99999999999", "SE": "999999-9999", "FI": "999999-999A", "NO": "999999 99999", "BR": "999.999.999-99",
    "IN": "9999 9999 9999", "CN": "999999999999999999", "AU": "999 999 999", "CA": "999-999-999", "ZA": "9999999999999", "TR": "99999999999",
    "CH": "756.9999.9999.99", "PT": "999 999 999", "CL": "99.999.999-9", "KR": "999999-9999999", "SG": "S9999999A", "RO": "9999999999999",
    "CZ": "999999/9999", "EE": "99999999999", "HR": "99999999999", "IL": "999999999",
}  # fmt: skip
COUNTRIES = tuple(_WRITTEN)


def national_id(draw: random.Random, country: str) -> str:
    """A number that is right, found by trying bodies and, for each, every last digit or letter."""
    rules = [one for one in NATIONAL_IDS if one.country == country]
    while True:
        text = "".join(_drawn(c, draw) for c in _WRITTEN[country])
        text = _with_day(text, country, draw)
        places = [i for i, c in enumerate(text) if c.isalnum()]
        last = places[-2:] if country in ("NO", "BR", "TR", "FR", "BE") else places[-1:]
        for _ in range(400 if len(last) > 1 else 1):
            for ending in string.ascii_uppercase if _WRITTEN[country][last[-1]] == "A" else string.digits:
                tried = list(text)
                tried[last[-1]] = ending
                if len(last) > 1:
                    tried[last[0]] = draw.choice(string.digits)
                number = "".join(tried)
                plain = re.sub(r"[^0-9A-Za-z]", "", number)
                if any(r.shape.fullmatch(number) and r.valid(plain) for r in rules):
                    return number


def _drawn(place: str, draw: random.Random) -> str:
    return draw.choice(string.digits) if place == "9" else draw.choice("ABCEHJKLMPRSTWXYZ") if place == "A" else place


def _with_day(text: str, country: str, draw: random.Random) -> str:
    """The same with a day of birth where the country has one."""
    year, month, day = f"{draw.randrange(40, 99)}", f"{draw.randrange(1, 13):02}", f"{draw.randrange(1, 29):02}"
    front = {"BE": f"{year}.{month}.{day}", "PL": year + month + day, "SE": year + month + day, "FI": day + month + year, "NO": day + month + year,
             "ZA": year + month + day, "KR": year + month + day, "CZ": year + month + day}  # fmt: skip
    if country in front:
        return front[country] + text[len(front[country]) :]
    if country in ("RO", "EE"):
        return draw.choice("12" if country == "RO" else "34") + year + month + day + text[7:]
    if country == "CN":
        return text[:6] + "19" + year + month + day + text[14:]
    return f"{draw.choice('12')} {year} {month}" + text[7:] if country == "FR" else text


_STREETS = ("Kestrel", "Old Mill", "Juniper", "Saint Anne's", "Quarry", "Bellflower", "Tannery", "Foxglove")
_TYPES = ("Street", "Road", "Lane", "Ave", "Drive", "Court", "Close", "Blvd.")
_LOCAL = ("info.me", "k.w", "moonrise", "t_h", "zz9", "j-p", "billing.q")
_WIDE = str.maketrans("0123456789+", "０１２３４５６７８９＋")


def own(half: int, seed: int) -> list[Labelled]:
    draw = random.Random(1000 + seed * 2 + half)
    return [filled(t, lambda field: _own_value(field, draw)) for t in OWN[half::2]]


def _phone(draw: random.Random) -> str:
    forms = (
        "(2{}) 4{}-{}",
        "2{}-5{}-{}",
        "+1 3{} 6{} {}",
        "+44 20 7{} {}",
        "07{}{} {}",
        "+49 30 {}{}",
        "+33 6 {} {} {}",
    )
    form = draw.choice(forms)
    sizes = {forms[3]: (3, 4), forms[4]: (2, 1, 6), forms[5]: (4, 3), forms[6]: (2, 2, 4)}.get(form, (2, 2, 4))
    return form.format(*(digits(draw, n) for n in sizes))


def _own_value(field: str, draw: random.Random) -> tuple[str, Kind | None]:
    if field.startswith("id_"):
        return national_id(draw, field[3:].upper()), Kind.NATIONAL_ID
    host = f"{draw.choice(('mail', 'post', 'corp'))}.example.{draw.choice(('com', 'org', 'co.uk'))}"
    match field:
        case "card" | "wide_card":
            number = card(draw)
            return (number.translate(_WIDE) if field == "wide_card" else number), Kind.CARD
        case "iban":
            return iban(draw), Kind.IBAN
        case "phone" | "wide_phone":
            number = _phone(draw)
            if field == "wide_phone":
                number = "\u200b".join(number.translate(_WIDE))
            return number, Kind.PHONE
        case "email":
            return f"{draw.choice(_LOCAL)}@{host}", Kind.EMAIL
        case "spelt":
            return f"{draw.choice(_LOCAL)} [at] {host.replace('.', ' [dot] ')}", Kind.EMAIL
        case "mrn":
            return draw.choice(
                (digits(draw, 7), f"{digits(draw, 3)}-{digits(draw, 5)}", f"H{digits(draw, 6)}")
            ), Kind.MEDICAL_RECORD
        case "nhs":
            from casemate.privacy.national_ids import gb_nhs

            while True:
                number = digits(draw, 10)
                if gb_nhs(number):
                    return f"{number[:3]} {number[3:6]} {number[6:]}", Kind.MEDICAL_RECORD
        case "ip":
            return ip(draw), Kind.IP
        case "dob":
            year, month, day = draw.randrange(1940, 2010), draw.randrange(1, 13), draw.randrange(1, 29)
            return draw.choice(
                (f"{year}-{month:02}-{day:02}", f"{day}/{month}/{year}", f"{day} June {year}", f"March {day}, {year}")
            ), Kind.BIRTH_DATE
        case "street":
            return f"{draw.randrange(1, 999)} {draw.choice(_STREETS)} {draw.choice(_TYPES)}", Kind.ADDRESS
        case "zip":
            return draw.choice((digits(draw, 5), f"{digits(draw, 5)}-{digits(draw, 4)}")), Kind.POSTCODE
        case "ukpost":
            return draw.choice(("SW1A 2AA", "M1 1AE", "EC1A 1BB", "B33 8TH", "CR2 6XH", "DN55 1PT")), Kind.POSTCODE
        case "passport":
            return draw.choice((f"{draw.choice('CGKLX')}{digits(draw, 8)}", digits(draw, 9))), Kind.NATIONAL_ID
        case _:
            return draw.choice((f"{draw.choice('ABDHS')}{digits(draw, 7)}", f"{digits(draw, 8)}")), Kind.NATIONAL_ID


def benign(half: int, seed: int) -> list[str]:
    draw = random.Random(5000 + seed * 2 + half)

    def value(field: str) -> tuple[str, None]:
        if field.startswith("hex"):
            return "".join(draw.choice("0123456789abcdef") for _ in range(int(field[3:]))), None
        if field == "uuid":
            return "-".join("".join(draw.choice("0123456789abcdef") for _ in range(n)) for n in (8, 4, 4, 4, 12)), None
        if field == "isbn":
            return "978" + digits(draw, 10), None
        return digits(draw, int(field[1:])), None

    return [filled(t, value).text for t in BENIGN[half::2]]


def corpus(half: int) -> Iterator[Labelled]:
    """All labelled sentences of a half, under its seeds; the outside ones where they are there."""
    for seed in SEEDS[half]:
        yield from own(half, seed)
        if OUTSIDE.is_dir():
            yield from outside(half, seed)
