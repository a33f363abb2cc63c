"""Names of persons in a normalised text: by lists of given names and surnames, by titles, and by what people say before a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module

from casemate.privacy.kinds import Kind
from casemate.privacy.normal_text import plain_letters
from casemate.privacy.spans import Span

# Faker's lists (MIT), of countries that write with Latin letters; English has the longest.
_LOCALES = (
    "en", "en_US", "en_GB", "en_IE", "en_IN", "en_NZ", "en_KE", "en_NG", "en_PK", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_BE", "fr_CH", "es_ES", "es_MX",
    "es_AR", "es_CL", "es_CO", "it_IT", "nl_NL", "nl_BE", "pt_BR", "pt_PT", "sv_SE", "no_NO", "da_DK", "fi_FI", "pl_PL", "cs_CZ", "sk_SK", "hu_HU",
    "ro_RO", "hr_HR", "sl_SI", "et_EE", "lt_LT", "lv_LV", "tr_TR", "id_ID", "vi_VN", "is_IS",
)  # fmt: skip
_TABLES = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary", "first_names_unisex")
_SURNAMES = ("last_names", "last_names_male", "last_names_female", "last_names_nonbinary")

_TOKEN = re.compile(r"[^\W\d_]{1,40}(?:['\-][^\W\d_]{1,40}){0,3}")
_GAP = re.compile(r"\.? {1,2}|\. ?|, | ?\n?\Z")
_TITLES = frozenset("mr mrs ms miss mx dr prof professor sir madam lord lady dame rev reverend father sister capt captain sgt lt col herr frau monsieur mme mlle senor senora sr sra signor signora don dona doctor nurse judge senator officer detective president minister patient mister uncle aunt".split())  # fmt: skip
_ABBREVIATED = frozenset({"mr", "mrs", "ms", "mx", "dr", "prof", "rev", "capt", "sgt", "lt", "col", "sr", "sra", "st"})
_PARTICLES = frozenset("de del della di da do dos das van von der den ten ter la le el al bin ibn ben abu of y e mac mc o'".split()) - {"of", "e", "y"}  # fmt: skip
_INTRO = re.compile(
    r"(?:my name is|my name's|name's|name is|named|i am|i'm|this is|called|call me|signed by|signed|regards,?|sincerely,?|cheers,?|thanks,?|dear|hi|hello|hey|contact|"
    r"written by|prepared by|reported by|attn:?|attention:?|cc:|from:|to:|name:|customer:?|patient:?|employee:?|client:?|holder:?|author:?|signature:?|interview with|"
    r"spoke with|spoke to|met with|meeting with|married to|wife|husband|brother|sister|son|daughter|mother|father|friend|colleague|boss|manager|mr\.?|mrs\.?)[ \n]{1,2}\Z",
    re.IGNORECASE,
)
# Given names that are words, places, months or things as well: alone they say nothing.
_AMBIGUOUS = frozenset("""
will mark bill art may april june august grace hope faith joy rose lily daisy ivy iris holly hazel olive violet summer autumn chase grant frank
rich pat jack drew miles pierce dale dean earl duke king prince guy buddy sunny star sky sandy stormy crystal amber ruby pearl jade opal gene ray
rob sue carol bob nick don ken van tony max major rusty dusty lance chance wade clay cliff heath forest brook lane reed wren robin jay martin
paris london sydney austin dallas houston jackson madison lincoln jordan india asia china america georgia virginia carolina dakota florence vienna
sienna savannah chelsea brooklyn kent cairo israel kenya santiago diego francisco jose salvador trinity genesis heaven angel christian noble royal
destiny harmony melody charity patience prudence constance mercy honor justice liberty temple precious ever forever true blue gray green brown white
black young long short small little light stone wood woods page rice bush house church hill field ford wells banks rivers waters winter snow frost
sterling marina victoria alexandria windsor lorraine regina kansas tennessee florida adelaide elba petra sofia java ruby julia perl pascal ada swift
alpha beta delta omega chi eta phi tau leo aries gemini virgo luna sol mars venus apollo jupiter mercury see do so an in on at to my no you me he
she it is be or and but for not ok yes long love dear man men an so thu le la lo mi ma pa ha ho hi oh ah son mai van thai viet hai hong min in
ali ana ann bo cam case dot eve fate fe flo forrest gay happy ima jean joe king lane les levi link lorry lou mac marvel mckenzie mercedes merry
mina mitch neal novella nova ona page penny percy price quiet rex rod rock sam see sage shell si sidney so song sonny spring staff ta tam tea ti tic
tom usa val vi viva vera wan wiley wing wit yang yi young yu zen storm cruz cross west north east south easter christmas sunday monday tuesday
wednesday thursday friday saturday january february march july september october november december man many unit data test model
""".split())  # fmt: skip
# What is written with a capital and is no part of a name, at the start of a sentence or of a thing's name.
_NO_NAMES = frozenset("""
the a an this that these those it its i we you he she they my our your his her their what which who when where why how if in on at by for from to of
and or but not no yes so as is are was were be been do does did has have had can could should would may might must will shall please thank thanks
dear hello hi hey regards sincerely best street st road rd avenue ave lane drive court place square park house building tower bridge station airport
university college school institute hospital clinic church museum library bank company co corp corporation inc ltd llc gmbh ag group holdings partners
university department ministry office agency association foundation society committee council court police army navy county city town village
north south east west new old great upper lower river lake mount mountain island bay beach coast valley hills united states kingdom republic union
team project system server service database table file model data api http https json csv sql python java linux windows android google microsoft
apple amazon facebook twitter netflix monday tuesday wednesday thursday friday saturday sunday january february march april june july august
september october november december spring summer autumn winter today tomorrow yesterday error warning note version release order invoice account
card credit number phone email address name date time day week month year am pm id also then there here after before during since until while because
although however therefore all any some each every both one two three four five six seven eight nine ten first second last next
day award prize act law code theorem method test distribution process algorithm index model equation effect syndrome disease cup open series
""".split())  # fmt: skip
_GIVEN, _SURNAME, _UNKNOWN = 2, 1, 0
_LONGEST = 5  # words of one name
_MOST_UNKNOWN = 2


@lru_cache(maxsize=1)
def name_lists() -> tuple[frozenset[str], frozenset[str]]:
    """(given names, surnames), in plain lower-case letters."""
    return _words(_TABLES) - _NO_NAMES, _words(_SURNAMES) - _NO_NAMES


def _words(tables: tuple[str, ...]) -> frozenset[str]:
    found: set[str] = set()
    for locale in _LOCALES:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for table in tables:
            listed = getattr(provider, table, ())
            for name in listed if isinstance(listed, tuple | list | dict) else ():
                found.update(word for word in plain_letters(name).replace(".", " ").split() if len(word) > 1)
    return frozenset(found)


class _Word:
    """One capitalised word, and what the lists say of it."""

    __slots__ = ("end", "initial", "lower", "rank", "start", "sure")

    def __init__(self, match: re.Match[str]) -> None:
        given, surnames = name_lists()
        self.start, self.end = match.span()
        self.lower = plain_letters(match[0].removesuffix("'s").removesuffix("'S"))
        if match[0].endswith(("'s", "'S")):
            self.end -= 2
        self.initial = len(match[0]) == 1
        parts = self.lower.split("-")
        is_given = any(part in given for part in parts)
        self.rank = _GIVEN if is_given else _SURNAME if any(part in surnames for part in parts) else _UNKNOWN
        self.sure = is_given and self.lower not in _AMBIGUOUS


def find_names(text: str, *, in_column: bool = False) -> Iterator[Span]:
    """Runs of capitalised words that the lists, a title or the words before make a person's name.

    Args: in_column: the column's name says that it holds names: then a cell of few words is one, listed or not.
    """
    if in_column and (whole := _as_whole(text)):
        yield whole
        return
    for title, run in _runs(text):
        for words, sure in _names_in(text, title, run):
            yield Span(
                kind=Kind.NAME, start=words[0].start, end=words[-1].end, confidence=sure, recogniser="name"
            )  # fmt: skip


def _as_whole(text: str) -> Span | None:
    stripped = text.strip()
    words = stripped.split()
    if not 1 <= len(words) <= _LONGEST + 1 or len(stripped) > 60 or any(c.isdigit() or c in "@/_=<>" for c in stripped):
        return None
    start = text.index(stripped)
    return Span(kind=Kind.NAME, start=start, end=start + len(stripped), confidence=0.85, recogniser="name")


def _runs(text: str) -> Iterator[tuple[str, list[_Word]]]:
    """(title or empty, words): capitalised words with nothing but a space, an initial's point or a particle between them."""
    title, run, last = "", [], -1
    shouted = text.isupper()
    for match in _TOKEN.finditer(text):
        word = match[0]
        gap = text[last : match.start()] if last >= 0 else None
        joined = gap is not None and gap in (" ", "  ") or gap == ". " and (run and run[-1].initial or not run and title in _ABBREVIATED) or gap == "." and bool(run) and run[-1].initial  # noqa: RUF021, E501
        lower = plain_letters(word)
        if not joined:
            if run:
                yield title, run
            title, run = "", []
        if lower in _TITLES and (word[0].isupper() or lower in _ABBREVIATED):
            if run:
                yield title, run
            title, run = lower, []
        elif word[0].isupper() and (shouted or not word.isupper() or len(word) < 2 or _is_listed(lower)):
            run = [*run, _Word(match)]
        elif not (run and lower in _PARTICLES and joined):
            if run:
                yield title, run
            title, run = "", []
        last = match.end()
    if run:
        yield title, run


def _is_listed(lower: str) -> bool:
    given, surnames = name_lists()
    return lower in given or lower in surnames


def _names_in(text: str, title: str, run: list[_Word]) -> Iterator[tuple[list[_Word], float]]:
    at = 0
    if title:
        words = _following(run, 0)
        if words:
            yield words, 0.9
            at = len(words)
    while at < len(run):
        words, sure = _name_at(text, run, at)
        if words:
            yield words, sure
            at += len(words)
        else:
            at += 1


def _name_at(text: str, run: list[_Word], at: int) -> tuple[list[_Word], float]:
    """The name that begins with this word, and how sure; no words: none does."""
    word = run[at]
    if word.lower in _NO_NAMES and not word.initial:
        return [], 0.0
    words = _following(run, at)
    if not words:
        return [], 0.0
    others = words[1:]
    introduced = at == 0 and bool(_INTRO.search(text[max(0, word.start - 24) : word.start]))
    known = sum(one.rank > _UNKNOWN for one in others if not one.initial)
    if word.rank == _GIVEN and known:
        return words, 0.9 if word.sure or introduced or others[-1].rank == _SURNAME else 0.7
    if word.sure and others:
        return words, 0.8
    if word.initial and others and (known or introduced) and len(others[-1].lower) > 2:
        return words, 0.7
    if introduced and (word.rank or len(words) == 2):
        return words, 0.75
    if word.sure and not others:
        return [word], 0.6 if _is_mid_sentence(text, word.start) else 0.52
    if word.rank == _SURNAME and len(words) == 2 and words[1].rank == _GIVEN and words[1].sure:
        return words, 0.6
    return [], 0.0


def _following(run: list[_Word], at: int) -> list[_Word]:
    """The words of a name from here: up to five, and no word that names are not made of."""
    words: list[_Word] = []
    unknown = 0
    for word in run[at : at + _LONGEST]:
        if word.lower in _NO_NAMES and not word.initial:
            break
        unknown += word.rank == _UNKNOWN and not word.initial
        if unknown > _MOST_UNKNOWN:
            break
        words.append(word)
    while words and words[-1].initial and len(words) > 1 and len(words[-1].lower) == 1 and words[-1].lower in "ai":
        words.pop()
    return [] if all(word.initial for word in words) else words


def _is_mid_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" ")[-1:]
    return bool(before) and before not in ".!?\n:;\"'(-*>"
