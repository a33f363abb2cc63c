"""Street addresses, post codes and days of birth in a normalised text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from casemate.privacy.context import Words
from casemate.privacy.kinds import Kind
from casemate.privacy.spans import Span

_NUMBER = r"\d{1,5}(?:[ ]?[A-Za-z](?![A-Za-z]))?(?:[-/]\d{1,4})?"
_WORD = r"[^\W\d_a-z][^\W_]{0,24}(?:['’.\-][^\W_]{1,24}){0,2}\.?"
_SUFFIX = (  # Source: USPS Publication 28, appendix C1, without the words that usually mean something else
    "Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Place|Pl|Square|Sq|Terrace|Ter|Parkway|Pkwy|Way|"
    "Highway|Hwy|Route|Alley|Crescent|Cres|Close|Grove|Gardens|Mews|Row|Walk|Loop|Trail|Trl|Pike|Plaza|Path|Ridge|Hill|Quay|Wharf|Green|"
    "Rise|Heights|Hts|Parade|Pde|Esplanade|Crossing|Xing|Turnpike|Tpke|Freeway|Fwy|Bypass|Common|Estate|Estates|Vale|Mall|Cove|Bend|"
    "Meadow|Meadows|Glen|Springs|Hollow|Manor|Orchard|Causeway|Expressway|Knoll|Hills|View|Park|Run"
)
_STREET = re.compile(
    rf"(?<![\w.$€£#%])(?:(?:Apt|Apartment|Flat|Unit|Suite|Ste|No)\.? ?#?[\dA-Za-z]{{1,5}},? )?{_NUMBER},? (?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West|Old|New|Upper|Lower)\.? )?"
    rf"(?:{_WORD} ){{1,4}}(?:{_SUFFIX})\b\.?(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\b\.?)?(?:,? (?:Apt|Apartment|Flat|Unit|Suite|Ste|Floor|Fl|Room|Rm|#)\.? ?#?[\dA-Za-z\-]{{1,6}}(?!\w))?"
)
_ORDINAL = re.compile(
    rf"(?<![\w.$€£#%])\d{{1,5}} (?:(?:N|S|E|W|North|South|East|West)\.? )?\d{{1,3}}(?:st|nd|rd|th) (?:{_SUFFIX})\b\.?(?:,? (?:Apt|Unit|Suite|Ste|Floor|#)\.? ?#?[\dA-Za-z\-]{{1,6}}(?!\w))?"
)
_CLOSED = (  # one word that ends as streets do, and a number
    r"[^\W\d_a-z][^\W\d_A-Z]{1,30}(?:straße|strasse|str\.|weg|gasse|platz|allee|damm|ufer|straat|laan|plein|gracht|kade|dijk|singel|hof|vej|(?<!Bri)gade|allé|gatan|vägen|gränd|backen|veien|vegen|gata|[aeiou]ntie|katu|polku|kuja|utca|stræde|parken|toften|bakken|marken|vænget|lunden|dreef|steeg)"
)
_NUMBER_LAST = re.compile(rf"(?<!\w)(?:{_WORD}[ -]|(?:van|von|de|der|den|op|am) ){{0,3}}{_CLOSED},? {_NUMBER}(?!\w)")
_KIND_FIRST = (
    "Rue|Avenue|Av\\.|Boulevard|Bd|Allée|Allee|Chemin|Place|Impasse|Quai|Cours|Route|Calle|C/|Avenida|Avda\\.?|Plaza|Paseo|Carrera|Camino|Carretera|Ctra\\.|Travesía|"
    "Via|Viale|Piazza|Corso|Largo|Vicolo|Strada|Rua|Travessa|Praça|Alameda|Estrada|Ulica|ul\\.|Aleja|al\\.|Am|An der|Auf dem|Im|In der|Zum|Zur|Alte|Neue|Große|Kleine|Calea|Strada|Bulevardul|Ulitsa"
)
_FRENCH = re.compile(
    rf"(?<!\w){_NUMBER}(?: (?:bis|ter))?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Bb]d|[Aa]llée|[Cc]hemin|[Pp]lace|[Ii]mpasse|[Qq]uai|[Cc]ours|[Rr]oute|[Ss]quare)(?: (?:de|du|des|la|le|les|et|aux?|{_WORD})(?!\w)){{1,5}}(?:(?<= de| du) [^\W\d_]{{3,20}})?"
)
_ROMANCE = re.compile(
    rf"(?<!\w)(?:{_KIND_FIRST})(?: (?:de|del|della|dei|delle|di|da|do|dos|das|la|le|lo|il|las|los|el|y|e|{_WORD})(?!\w)){{1,5}},? (?:n[.º°o]{{0,2}} ?|nº ?)?{_NUMBER}(?!\w)"
)
_BOX = re.compile(
    r"(?<!\w)(?:P\.? ?O\.? ?Box|Post Office Box|Postbox|Postboks|Postfach|Apartado|Casilla|BP) \d{1,7}(?!\w)",
    re.IGNORECASE,
)
# A name and a number in any order, of whatever country: believed where the text calls it an address, or as a line of its own among others.
_LOOSE = re.compile(
    rf"(?<![\w.$€£#%])(?:(?:{_WORD} |(?:de|del|della|dei|di|da|do|dos|la|le|lo|il|las|los|el|van|von|den|der|na|nad) ){{0,4}}(?:{_WORD}|{_WORD} [^\W\d_]{{1,10}}\.?),? {_NUMBER}\b\.?|{_NUMBER},? (?:{_WORD}|de|du|la|des)(?: (?:{_WORD}|de|du|la|des|ter)){{0,4}})"
)
_ADDRESS_WORDS = Words((
    "address", "addresses", "live at", "lives at", "living at", "lived at", "located at", "meet me at", "meet you at", "meet at", "deliver to", "delivered to", "ship to",
    "shipped to", "moved to", "sent to", "send to", "send it to", "mail to", "taxi to", "return to", "new one to", "one to", "residence", "resides at", "residing at", "street", "drive to", "pick me up at", "home is at",
    "office is at", "restaurant is at", "house at", "flat at", "apartment at", "office at", "come to", "adresse", "anschrift", "wohnhaft",
))  # fmt: skip
_LINE_OF_A_PERSON = re.compile(r"@|\d{4,6}|\+\d|[Tt]el|[Pp]hone|[Mm]obile|[Ff]ax")

_STATES = "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|PR|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY"
_ZIP = re.compile(r"(?<=\b)(?:(?<=[A-Z]{2} )|(?<=[A-Z]{2}, ))(?<!\d)(\d{5}(?:-\d{4})?)(?![\w\-])")
_STATE_BEFORE = re.compile(rf"(?:^|[ ,])(?:{_STATES}),? \Z")
_ZIP4 = re.compile(r"(?<![\w\-])\d{5}-\d{4}(?![\w\-])")
_UK = re.compile(r"(?<![\w\-])(?:GIR 0AA|[A-PR-UWYZ](?:[A-HK-Y]?\d{1,2}|\d[A-HJKPSTUW]|[A-HK-Y]\d[ABEHMNPRVWXY]) ?\d[ABD-HJLNP-UW-Z]{2})(?![\w\-])")  # fmt: skip
_CANADA = re.compile(r"(?<![\w\-])[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z][ -]?\d[ABCEGHJ-NPRSTV-Z]\d(?![\w\-])")
_CODE = re.compile(
    r"(?<![\w.\-$€£#+/])(?:[A-Z]{1,2}-)?(?:\d{4} ?[A-Z]{2}|\d{2}[- ]\d{3}|\d{3} \d{2}|\d{4,6}|\d{5}-\d{3})(?![\w\-%]|\.\d)"
)
_CODE_WORDS = Words(("zip", "zip code", "zipcode", "postcode", "post code", "postal code", "postal", "plz", "postleitzahl", "code postal", "cap", "codigo postal"))  # fmt: skip

_BESIDE_A_PLACE = re.compile(
    r"[A-Z][a-z]{2,20},? (?!(?:19|20)\d\d(?!\d))\d{4,6}(?!\d)|(?<!\d)(?!(?:19|20)\d\d(?!\d))\d{4,6} [A-Z][a-z]{2,20}"
)
_DOUBTFUL = 0.42  # confidence of a number beside what may be a place

_MONTH = (
    "Jan(?:uary|uar)?|Feb(?:ruary|ruar)?|Mar(?:ch)?|März|Apr(?:il)?|May|Mai|June?|Juni|July?|Juli|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    "Okt(?:ober)?|Nov(?:ember)?|Dec(?:ember)?|Dez(?:ember)?"
)
_DAY = re.compile(
    rf"(?<![\w/.\-])(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/. ]\d{{1,2}}[-/. ](?:\d{{4}}|\d{{2}})|\d{{1,2}}(?:st|nd|rd|th|\.)?(?: of)? (?:{_MONTH})\.?,? \d{{4}}|(?:{_MONTH})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\d{{1,2}}[- ](?:{_MONTH})[- ]\d{{2,4}}|(?:19|20)\d{{2}})(?![\w]|[/\-.]\d)",
    re.IGNORECASE,
)
_BORN = Words(("born", "birth date", "date of birth", "birth:", "date of birth", "dob", "d.o.b", "d.o.b.", "birthday", "birthdate", "birth date", "b.", "geboren", "geb.", "geburtsdatum", "né le", "née le", "nacido", "nacida", "nato", "nata"))  # fmt: skip


def find_addresses(text: str) -> Iterator[Span]:
    """Streets with a house number, in the order of English, German, Nordic, Dutch, French and southern addresses; post boxes."""
    if any(c.isdigit() for c in text):
        for pattern, sure in (
            (_STREET, 0.85), (_ORDINAL, 0.85), (_NUMBER_LAST, 0.85), (_FRENCH, 0.85), (_ROMANCE, 0.75), (_BOX, 0.85),
        ):  # fmt: skip
            for match in pattern.finditer(text):
                yield _address(match, sure)
        yield from _loose_addresses(text)


def _loose_addresses(text: str) -> Iterator[Span]:
    last = -1  # where the address before ended: `here they are: ..., and ...`
    for match in _LOOSE.finditer(text):
        start, end = match.span()
        follows = last >= 0 and text[last:start] in (", ", ", and ", " and ", "; ")
        if follows or _ADDRESS_WORDS.are_before(text, start) or _is_line(text, start, end):
            yield _address(match, 0.65)
            last = end


def _is_line(text: str, start: int, end: int) -> bool:
    """Whether nothing else stands in the line, and those around it are of somebody's address or numbers."""
    if "\n" not in text or text[max(0, start - 1) : start].strip(" \n?-") or text[end : end + 1].strip():
        return False
    around = text[max(0, start - 150) : start] + text[end : end + 150]
    return bool(_LINE_OF_A_PERSON.search(around))


def _address(match: re.Match[str], sure: float) -> Span:
    return Span(kind=Kind.ADDRESS, start=match.start(), end=match.end(), confidence=sure, recogniser="address")


def find_postcodes(text: str, *, in_column: bool = False) -> Iterator[Span]:
    """Codes whose form only one country has, US codes behind a state, and others that are called so."""
    for pattern, sure in ((_UK, 0.8), (_CANADA, 0.8), (_ZIP4, 0.7)):
        for match in pattern.finditer(text):
            yield _postcode(match.span(), sure)
    for match in _ZIP.finditer(text):
        if _STATE_BEFORE.search(text[max(0, match.start() - 6) : match.start()]):
            yield _postcode(match.span(1), 0.85)
    for match in _CODE.finditer(text):
        if in_column or _CODE_WORDS.are_before(text, match.start(), within=24):
            yield _postcode(match.span(), 0.85)
        elif _BESIDE_A_PLACE.search(text[max(0, match.start() - 24) : match.end() + 24]):
            yield _postcode(match.span(), _DOUBTFUL)


def _postcode(place: tuple[int, int], sure: float) -> Span:
    return Span(kind=Kind.POSTCODE, start=place[0], end=place[1], confidence=sure, recogniser="postcode")


def find_birth_dates(text: str, *, in_column: bool = False) -> Iterator[Span]:
    """Days that the text calls somebody's birth: the word stands before, in the same clause."""
    for match in _DAY.finditer(text):
        if in_column or _BORN.are_before(text, match.start(), within=40):
            yield Span(
                kind=Kind.BIRTH_DATE, start=match.start(), end=match.end(), confidence=0.9, recogniser="birth-date"
            )
