"""E-mail addresses, telephone numbers and addresses of machines in a normalised text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address

from casemate.privacy.context import Words
from casemate.privacy.kinds import Kind
from casemate.privacy.spans import Span

REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "SE", "PL", "CH", "AU", "IN", "BR")  # whose numbers need no +

_LOCAL = 64  # characters before the sign. Source: RFC 5321, section 4.5.3.1
_DOMAIN = re.compile(r"[ ]{0,2}((?:[^\W_](?:[\w\-]{0,62})\.){1,8}[^\W\d_]{2,24})(?![\w\-])")
_AT = re.compile(r"@| ?[\[({<] ?(?:at|AT) ?[\])}>] ?")
_BEFORE_AT = re.compile(r"[\w.!#$%&'*+/=?^`{|}~\-]{1,64}\Z")
_SPELT_DOMAIN = re.compile(
    r"((?:[^\W_][\w\-]{0,62}(?: ?[\[({<] ?(?:dot|DOT) ?[\])}>] ?|\.| dot )){1,5}[^\W\d_]{2,24})(?![\w\-])"
)

_PHONE = re.compile(r"(?<![\w+])(?<!\d[.\-/:,])(?<!\d )(?:(?:\+|00)[ (]{0,2})?\(?\d{1,15}(?:[ .\-/()]{1,3}\d{1,12}){0,8}(?:(?: ?x| ?ext\.? ?| ?extension )\d{1,6})?(?![\w]|[.\-:/]\d)", re.IGNORECASE)  # fmt: skip
_PHONE_WORDS = Words((
    "phone", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "call", "called", "calling", "calls", "text me", "sms", "whatsapp", "dial", "ring",
    "hotline", "reach me", "reached at", "reach", "number is", "contact", "landline", "ph", "phone number", "mob", "telefon", "handy", "téléphone",
    "portable", "teléfono", "móvil", "telefono", "cellulare", "telefoon", "telefone", "celular", "my number", "home number", "work number",
    "contact number", "voicemail", "signal", "messages to", "registered", "answering at", "answering", "texted",
))  # fmt: skip
_NORTH_AMERICA = re.compile(r"(?:\+?1[ .\-]?)?(?:\([2-9]\d{2}\)[ \-.]?|[2-9]\d{2}([.\-/ ]))[2-9]\d{2}[ .\-]\d{4}\Z")
_NATIONAL = re.compile(r"\(?0\d{1,5}\)?[ /\-.]{1,3}\d{2,9}(?:[ \-.]\d{2,6}){0,4}\Z")
_EXTENSION = re.compile(r"(?: ?x| ?ext\.? ?| ?extension )\d{1,6}\Z", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d{2}[.\-/]\d{1,2}[.\-/]\d{1,2}(?:\D|\Z)|\d{1,2}[.\-/]\d{1,2}[.\-/](?:\d{2}|\d{4})\Z")
_DOUBTFUL = 0.42  # confidence of grouped digits that nothing else speaks for
_LABEL = re.compile(r"(?:phone|tel|mobile|fax|cell)\.?: ?\Z", re.IGNORECASE)
_LEAST_LABELLED = 6  # digits, behind `Phone:`
_LEAST, _MOST = 7, 15  # digits of a telephone number. Source: ITU-T E.164

_IPV4 = re.compile(r"(?<![\w.\-/])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9a-f:.]{0,39}::?[0-9a-f:.]{0,39})[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", re.IGNORECASE)  # fmt: skip
_MAC = re.compile(r"(?<![\w:\-])[0-9a-f]{2}([:\-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:\-])", re.IGNORECASE)
_VERSION = Words(("version", "v", "ver", "release", "build", "firmware", "section", "chapter", "oid"))


def find_emails(text: str) -> Iterator[Span]:
    """Addresses with `@`, or with `[at]` and `[dot]`. Looks 64 characters back and 300 ahead of each sign."""
    for sign in _AT.finditer(text):
        plain = sign[0] == "@"
        before = _BEFORE_AT.search(text[max(0, sign.start() - _LOCAL) : sign.start()])
        after = (_DOMAIN if plain else _SPELT_DOMAIN).match(text, sign.end(), sign.end() + 300)
        if before is None or after is None or (plain and after.start(1) != sign.end()):
            continue
        local = before[0].lstrip(".'`/={|")
        if local:
            yield Span(
                kind=Kind.EMAIL,
                start=sign.start() - len(local),
                end=after.end(1),
                confidence=1.0 if plain else 0.9,
                recogniser="email",
            )


def find_phones(text: str, *, regions: Sequence[str] = REGIONS, in_column: bool = False) -> Iterator[Span]:
    """Numbers with a + that some country gives; others in a country's usual grouping, or called a telephone number nearby.

    Args: regions: countries whose numbers may stand without a +. in_column: the column's name says that it holds such numbers.
    """
    for match in _PHONE.finditer(text):
        found = match[0].rstrip(" (")
        number = _EXTENSION.sub("", found)
        digits = sum(c.isdigit() for c in number)
        labelled = in_column or bool(_LABEL.search(text[max(0, match.start() - 12) : match.start()]))
        if (
            not (_LEAST_LABELLED if labelled else _LEAST) <= digits <= _MOST
            or _DATE.match(number)
            or number.count("(") != number.count(")")
        ):
            continue
        near = in_column or _PHONE_WORDS.are_near(text, match.start(), match.end())
        sure = _sure_of_phone(number, near, tuple(regions), grouped=digits < len(number))
        if sure:
            yield Span(
                kind=Kind.PHONE,
                start=match.start(),
                end=match.start() + len(found),
                confidence=sure,
                recogniser="phone",
            )


def _sure_of_phone(number: str, near: bool, regions: tuple[str, ...], *, grouped: bool) -> float:  # noqa: FBT001
    if number.startswith(("+", "00")):
        return (0.97 if near else 0.92) if _is_known("+" + number.lstrip("+0"), None) else 0.6 * near
    if _NORTH_AMERICA.match(number):
        return 0.95 if near else 0.85
    if _NATIONAL.match(number) and any(_is_known(number, region) for region in regions):
        return 0.95 if near else 0.75
    if near and any(_is_known(number, region) for region in regions):
        return 0.85 if grouped else 0.75
    if not grouped:
        return 0.0
    return 0.6 if near else _DOUBTFUL


@lru_cache(maxsize=1 << 16)
def _is_known(number: str, region: str | None) -> bool:
    """Whether a country's plan has numbers of these digits. Source: Google's libphonenumber metadata."""
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def find_machines(text: str) -> Iterator[Span]:
    """IP and hardware addresses; not those of this machine, of everybody, or of documentation; and no numbers of versions."""
    for match in _IPV4.finditer(text):
        if _is_somebodys(match[0]) and not _VERSION.are_before(text, match.start(), within=12):
            yield _machine(match, 0.9)
    if ":" not in text and "-" not in text:
        return
    for match in _IPV6.finditer(text):
        if match[0].count(":") > 2 and any(c.isdigit() for c in match[0]) and _is_somebodys(match[0]):
            yield _machine(match, 0.9)
    for match in _MAC.finditer(text):
        yield _machine(match, 0.85)


def _machine(match: re.Match[str], sure: float) -> Span:
    return Span(kind=Kind.IP, start=match.start(), end=match.end(), confidence=sure, recogniser="ip")


def _is_somebodys(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith(("255.", "0."))
    )
