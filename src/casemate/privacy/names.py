"""Names of persons in a normalised text: by lists of given names and surnames, by titles, and by what people say before a name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from casemate.privacy.kinds import Kind
from casemate.privacy.name_lists import is_given_name, is_ordinary, is_surname
from casemate.privacy.normal_text import plain_letters
from casemate.privacy.spans import Span

_TOKEN = re.compile(r"[^\W\d_]{1,40}(?:['\-][^\W\d_]{1,40}){0,3}")
_GAP = re.compile(r"\.? {1,2}|\. ?|, | ?\n?\Z")
_TITLES = frozenset(["mr", "mrs", "ms", "miss", "mx", "dr", "prof", "professor", "sir", "madam", "lord", "lady", "dame", "rev", "reverend", "father", "sister", "capt", "captain", "sgt", "lt", "col", "herr", "frau", "monsieur", "mme", "mlle", "senor", "senora", "sr", "sra", "signor", "signora", "don", "dona", "doctor", "nurse", "judge", "senator", "officer", "detective", "president", "minister", "patient", "mister", "uncle", "aunt"])  # fmt: skip
_ABBREVIATED = frozenset({"mr", "mrs", "ms", "mx", "dr", "prof", "rev", "capt", "sgt", "lt", "col", "sr", "sra", "st"})
_PARTICLES = frozenset(["de", "del", "della", "di", "da", "do", "dos", "das", "van", "von", "der", "den", "ten", "ter", "la", "le", "el", "al", "bin", "ibn", "ben", "abu", "of", "y", "e", "mac", "mc", "o'"]) - {"of", "e", "y"}  # fmt: skip
_INTRO = re.compile(
    r"(?:my name is|my name's|name's|name is|named|i am|i'm|this is|called|call me|signed by|signed|regards,?|sincerely,?|cheers,?|thanks,?|dear|hi|hello|hey|contact|"
    r"written by|prepared by|reported by|attn:?|attention:?|cc:|from:|to:|name:|customer:?|patient:?|employee:?|client:?|holder:?|author:?|signature:?|interview with|"
    r"spoke with|spoke to|met with|meeting with|married to|wife|husband|brother|sister|son|daughter|mother|father|friend|colleague|boss|manager|mr\.?|mrs\.?)[ \n]{1,2}\Z",
    re.IGNORECASE,
)
# Given names that are words, places, months or things as well: alone they say nothing.
_AMBIGUOUS = frozenset(["will", "mark", "bill", "art", "may", "april", "june", "august", "grace", "hope", "faith", "joy", "rose", "lily", "daisy", "ivy", "iris", "holly", "hazel", "olive", "violet", "summer", "autumn", "chase", "grant", "frank", "rich", "pat", "jack", "drew", "miles", "pierce", "dale", "dean", "earl", "duke", "king", "prince", "guy", "buddy", "sunny", "star", "sky", "sandy", "stormy", "crystal", "amber", "ruby", "pearl", "jade", "opal", "gene", "ray", "rob", "sue", "carol", "bob", "nick", "don", "ken", "van", "tony", "max", "major", "rusty", "dusty", "lance", "chance", "wade", "clay", "cliff", "heath", "forest", "brook", "lane", "reed", "wren", "robin", "jay", "martin", "paris", "london", "sydney", "austin", "dallas", "houston", "jackson", "madison", "lincoln", "jordan", "india", "asia", "china", "america", "georgia", "virginia", "carolina", "dakota", "florence", "vienna", "sienna", "savannah", "chelsea", "brooklyn", "kent", "cairo", "israel", "kenya", "santiago", "diego", "francisco", "jose", "salvador", "trinity", "genesis", "heaven", "angel", "christian", "noble", "royal", "destiny", "harmony", "melody", "charity", "patience", "prudence", "constance", "mercy", "honor", "justice", "liberty", "temple", "precious", "ever", "forever", "true", "blue", "gray", "green", "brown", "white", "black", "young", "long", "short", "small", "little", "light", "stone", "wood", "woods", "page", "rice", "bush", "house", "church", "hill", "field", "ford", "wells", "banks", "rivers", "waters", "winter", "snow", "frost", "sterling", "marina", "victoria", "alexandria", "windsor", "lorraine", "regina", "kansas", "tennessee", "florida", "adelaide", "elba", "petra", "sofia", "java", "ruby", "julia", "perl", "pascal", "ada", "swift", "alpha", "beta", "delta", "omega", "chi", "eta", "phi", "tau", "leo", "aries", "gemini", "virgo", "luna", "sol", "mars", "venus", "apollo", "jupiter", "mercury", "see", "do", "so", "an", "in", "on", "at", "to", "my", "no", "you", "me", "he", "she", "it", "is", "be", "or", "and", "but", "for", "not", "ok", "yes", "long", "love", "dear", "man", "men", "an", "so", "thu", "le", "la", "lo", "mi", "ma", "pa", "ha", "ho", "hi", "oh", "ah", "son", "mai", "van", "thai", "viet", "hai", "hong", "min", "in", "ali", "ana", "ann", "bo", "cam", "case", "dot", "eve", "fate", "fe", "flo", "forrest", "gay", "happy", "ima", "jean", "joe", "king", "lane", "les", "levi", "link", "lorry", "lou", "mac", "marvel", "mckenzie", "mercedes", "merry", "mina", "mitch", "neal", "novella", "nova", "ona", "page", "penny", "percy", "price", "quiet", "rex", "rod", "rock", "sam", "see", "sage", "shell", "si", "sidney", "so", "song", "sonny", "spring", "staff", "ta", "tam", "tea", "ti", "tic", "tom", "usa", "val", "vi", "viva", "vera", "wan", "wiley", "wing", "wit", "yang", "yi", "young", "yu", "zen", "storm", "cruz", "cross", "west", "north", "east", "south", "easter", "christmas", "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "golden", "america", "hunter", "junior", "lucky", "marine", "merlin", "milka", "oriana", "bot", "lot", "berlin", "rome", "milan", "verona", "january", "february", "march", "july", "september", "october", "november", "december", "man", "many", "unit", "data", "test", "model"])  # fmt: skip
# What is written with a capital and is no part of a name, at the start of a sentence or of a thing's name.
_NO_NAMES = frozenset(["the", "a", "an", "this", "that", "these", "those", "it", "its", "i", "we", "you", "he", "she", "they", "my", "our", "your", "his", "her", "their", "what", "which", "who", "when", "where", "why", "how", "if", "in", "on", "at", "by", "for", "from", "to", "of", "and", "or", "but", "not", "no", "yes", "so", "as", "is", "are", "was", "were", "be", "been", "do", "does", "did", "has", "have", "had", "can", "could", "should", "would", "may", "might", "must", "will", "shall", "please", "thank", "thanks", "dear", "hello", "hi", "hey", "regards", "sincerely", "best", "street", "st", "road", "rd", "avenue", "ave", "lane", "drive", "court", "place", "square", "park", "house", "building", "tower", "bridge", "station", "airport", "university", "college", "school", "institute", "hospital", "clinic", "church", "museum", "library", "bank", "company", "co", "corp", "corporation", "inc", "ltd", "llc", "gmbh", "ag", "group", "holdings", "partners", "university", "department", "ministry", "office", "agency", "association", "foundation", "society", "committee", "council", "court", "police", "army", "navy", "county", "city", "town", "village", "north", "south", "east", "west", "new", "old", "great", "upper", "lower", "river", "lake", "mount", "mountain", "island", "bay", "beach", "coast", "valley", "hills", "united", "states", "kingdom", "republic", "union", "team", "project", "system", "server", "service", "database", "table", "file", "model", "data", "api", "http", "https", "json", "csv", "sql", "python", "java", "linux", "windows", "android", "google", "microsoft", "apple", "amazon", "facebook", "twitter", "netflix", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december", "spring", "summer", "autumn", "winter", "today", "tomorrow", "yesterday", "error", "warning", "note", "version", "release", "order", "invoice", "account", "card", "credit", "number", "phone", "email", "address", "name", "date", "time", "day", "week", "month", "year", "am", "pm", "id", "also", "then", "there", "here", "after", "before", "during", "since", "until", "while", "because", "although", "however", "therefore", "all", "any", "some", "each", "every", "both", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "first", "second", "last", "next", "i'm", "i've", "i'd", "i'll", "it's", "that's", "he's", "she's", "we're", "you're", "they're", "don't", "day", "award", "prize", "act", "law", "code", "theorem", "method", "test", "distribution", "process", "algorithm", "index", "model", "equation", "effect", "syndrome", "disease", "cup", "open", "series"])  # fmt: skip
_STRONG_INTRO = re.compile(
    r"(?:my name is|my name's|name is|maiden name is|surname is|call me|calls me|named (?:him|her|it)|mr\.?|mrs\.?|ms\.?|dear|it's under|what's your name\?|your name\?)[ \n]{1,2}\Z",
    re.IGNORECASE,
)
_NAME_IS = re.compile(
    r"(?:my name is|my name's|maiden name is|surname is|calls me|everyone calls me) \Z", re.IGNORECASE
)
_PERSON_BEHIND = re.compile(
    r"(?:'s (?:wife|husband|mother|father|son|daughter|sister|brother|family|friend|address|phone|email|account|house|home|birthday|death|life|career|song|album|killer|age|salary|boss|doctor)"
    r"| (?:said|says|told|asked|replied|lives|lived|loves|likes|thinks|knows|wants|wrote|sings|sang|laughed|smiled|married|died|spoke|speaks|spent|thought|felt|cried|agreed|joined|has to|is from|and I\b|who\b)\b)"
)
_PERSON_BEFORE = re.compile(
    r"(?:\b(?:him|her|starring|founders:|sung by|written by|directed by|played by|married|dating|hired|fired|said|thank|ask|tell|told|asked|met|sincerely,|regards,|why is|where is|who is|how is|when is)[ \n]{1,2})\Z",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r": (?=[A-Z])|, (?:can|could|would|will|please|are|do|did|have|is|you|I|we)\b")
_SERIES = frozenset({", ", " and ", ", and ", " & ", " or "})
DOUBTFUL = (
    0.45  # confidence of what may be a name, and is one rarely enough: no finding, but no loss where it is replaced
)
_KNOWN = 0.7  # confidence from which a name's parts are known in the rest of a text
_GIVEN, _SURNAME, _UNKNOWN = 2, 1, 0
_LONGEST = 5  # words of one name
_MOST_UNKNOWN = 2


class _Word:
    """One capitalised word, and what the lists say of it. `sure`: alone it is a given name and nothing else. `plain`: it is a word of the
    language. `strange`: no list knows it."""

    __slots__ = ("end", "initial", "lower", "plain", "rank", "start", "strange", "sure")

    def __init__(self, match: re.Match[str]) -> None:
        self.start, self.end = match.span()
        self.lower = plain_letters(match[0].removesuffix("'s").removesuffix("'S"))
        if match[0].endswith(("'s", "'S")):
            self.end -= 2
        self.initial = len(match[0]) == 1
        parts = self.lower.split("-")
        is_given = any(map(is_given_name, parts))
        self.rank = _GIVEN if is_given else _SURNAME if any(map(is_surname, parts)) else _UNKNOWN
        self.plain = is_ordinary(self.lower) or self.lower in _AMBIGUOUS or self.lower in _NO_NAMES
        self.sure = is_given and not self.plain and len(self.lower) > 2
        self.strange = self.rank == _UNKNOWN and not self.plain and len(self.lower) > 2 and not _is_camel(match[0])


def _is_camel(word: str) -> bool:
    return (
        any(c.isupper() for c in word[1:])
        and "-" not in word
        and "'" not in word
        and not word.startswith(("Mc", "Mac", "De", "Di", "Van", "La", "Le"))
    )


def find_names(text: str, *, in_column: bool = False, known: frozenset[str] = frozenset()) -> Iterator[Span]:
    """Runs of capitalised words that the lists, a title or the words beside them make a person's name.

    A name that was found surely is found wherever a part of it stands again in the text.
    Args: in_column: the column's name says that it holds names: then a cell of few words is one, listed or not. known: parts of names,
        as `parts_of_names` makes them, that the rest of the table holds.
    """
    if in_column and (whole := _as_whole(text)):
        yield whole
        return
    known_here = set(known)
    runs = list(_runs(text))
    taken: set[int] = set()
    for title, run in runs:
        for words, sure in _names_in(text, title, run):
            yield _span(words, sure)
            if sure > DOUBTFUL:
                taken.update(word.start for word in words)
            if sure >= _KNOWN and (title or len(words) > 1):
                known_here.update(w.lower for w in words if len(w.lower) > 3 and not w.plain)
    last: _Word | None = None
    for _, run in runs:
        for word in run:
            if word.start in taken:
                last = word
                continue
            if word.lower in known_here or (last is not None and len(run) == 1 and _in_series(text, last, word)):
                yield _span([word], 0.6)
                last = word


def parts_of_names(name: str) -> Iterator[str]:
    """Words of a person's name by which it is known again: four letters and more, and no word of the language."""
    for match in _TOKEN.finditer(name):
        word = _Word(match)
        if len(word.lower) > 3 and not word.plain:
            yield word.lower


def _span(words: list[_Word], sure: float) -> Span:
    return Span(kind=Kind.NAME, start=words[0].start, end=words[-1].end, confidence=sure, recogniser="name")


def _in_series(text: str, before: _Word, word: _Word) -> bool:
    """`Ann, Vadym and Kavran`: what stands in a series with a name, and is no word of the language, is one."""
    return (
        word.start - before.end <= 6
        and text[before.end : word.start] in _SERIES
        and not word.plain
        and len(word.lower) > 2
    )


def _as_whole(text: str) -> Span | None:
    stripped = text.strip()
    words = stripped.split()
    if not 1 <= len(words) <= _LONGEST + 1 or len(stripped) > 60 or any(c.isdigit() or c in "@/_=<>" for c in stripped):
        return None
    start = text.index(stripped)
    return Span(kind=Kind.NAME, start=start, end=start + len(stripped), confidence=0.85, recogniser="name")


def _runs(text: str) -> Iterator[tuple[str, list[_Word]]]:
    """(title or empty, words): capitalised words with nothing but a space, an initial's point or a particle between them."""
    title, run, last = "", list[_Word](), 0
    shouted = text.isupper()
    for match in _TOKEN.finditer(text):
        word, lower = match[0], plain_letters(match[0])
        if not _is_joined(text[last : match.start()], title, run):
            if run:
                yield title, run
            title, run = "", []
        if lower in _TITLES and (word[0].isupper() or lower in _ABBREVIATED):
            if run:
                yield title, run
            title, run = lower, []
        elif word[0].isupper() and (shouted or not word.isupper() or len(word) < 2 or _is_long_name(lower)):
            run.append(_Word(match))
        elif not run or lower not in _PARTICLES:
            if run:
                yield title, run
            title, run = "", []
        last = match.end()
    if run:
        yield title, run


def _is_joined(gap: str, title: str, run: list[_Word]) -> bool:
    """Whether what stands between two words lets them be of one name: a space, or the point of an initial or of a title."""
    if gap in ("", " ", "  "):
        return True
    shortened = run[-1].initial if run else title in _ABBREVIATED
    return shortened and gap in (".", ". ")


def _is_long_name(lower: str) -> bool:
    return len(lower) > 4 and (is_given_name(lower) or is_surname(lower))


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
        elif _is_doubtful(text, run[at]):
            yield [run[at]], DOUBTFUL
        at += len(words) or 1


def _name_at(text: str, run: list[_Word], at: int) -> tuple[list[_Word], float]:
    """The name that begins with this word, and how sure; no words: none does."""
    word = run[at]
    words = _following(run, at)
    if not words:
        return [], 0.0
    before = text[max(0, word.start - 32) : word.start]
    first = at == 0 or run[at - 1].lower in _NO_NAMES
    introduced = first and bool(_INTRO.search(before))
    if first and (_NAME_IS.search(before) or (_STRONG_INTRO.search(before) and (not word.plain or word.rank))):
        return words, 0.75
    if len(words) > 1 and (sure := _sure_of_words(words, introduced=introduced)):
        return words, sure
    return _alone(text, words, before, introduced=introduced)


def _alone(text: str, words: list[_Word], before: str, *, introduced: bool) -> tuple[list[_Word], float]:
    """What the words beside it make of the first word, where the lists alone do not say."""
    word = words[0]
    named = bool(word.rank) and not word.plain
    if introduced and named:
        return words, 0.75
    behind = text[words[-1].end : words[-1].end + 24]
    given = word.rank == _GIVEN and word.lower not in _NO_NAMES
    if (word.strange or named or given) and _of_a_person(before, behind):
        return words, 0.55
    if (word.strange or given) and _is_spoken_to(text, word.start, behind):
        return words, 0.55
    if len(words) > 1 and _fill_a_line(text, words) and (given or all(one.strange for one in words)):
        return words, 0.55
    if word.sure and len(words) == 1:
        return words, 0.6 if _is_mid_sentence(text, word.start) else 0.52
    return [], 0.0


def _is_doubtful(text: str, word: _Word) -> bool:
    """Whether it may be a name all the same: no word of the language, or a given name in the middle of a sentence."""
    if word.initial or word.lower in _NO_NAMES:
        return False
    named = bool(word.rank) and not word.plain
    return word.strange or named or (word.rank == _GIVEN and _is_mid_sentence(text, word.start))


def _sure_of_words(words: list[_Word], *, introduced: bool) -> float:
    """How sure it is that two words or more are one name, by the lists; 0: they are none."""
    word, others, last = words[0], words[1:], words[-1]
    listed = [one for one in others if one.rank > _UNKNOWN and not one.initial]
    if word.rank == _GIVEN and listed and (word.sure or introduced or not listed[-1].plain):
        return 0.9 if word.sure else 0.7
    if word.sure:
        return 0.8
    if word.initial:
        return 0.7 if (listed or introduced) and len(last.lower) > 2 and not last.plain else 0.0
    if len(words) > 2:
        return 0.0
    if introduced and not any(one.plain for one in words):
        return 0.75
    swapped = word.rank == _SURNAME and last.sure
    return 0.6 if swapped or all(one.strange or (one.rank and not one.plain) for one in words) else 0.0


def _of_a_person(before: str, behind: str) -> bool:
    """Whether the words beside one are those that stand beside people alone."""
    return bool(_PERSON_BEHIND.match(behind) or _PERSON_BEFORE.search(before))


def _is_spoken_to(text: str, start: int, behind: str) -> bool:
    """`Ann: Hello`, at the start of a line; `Ann, could you`; `go home, Ann!`."""
    before = text[max(0, start - 2) : start]
    if not before or before.endswith("\n"):
        return bool(_SPEAKER.match(behind))
    return (
        before in (", ", "e ")
        and behind[:1] in ("!", "?", ",")
        and (before == ", " or text[max(0, start - 4) : start] == " me ")
    )


def _fill_a_line(text: str, words: list[_Word]) -> bool:
    """Whether nothing else stands in a line of a text of several: as over an address, or under a letter."""
    before, behind = text[max(0, words[0].start - 5) : words[0].start], text[words[-1].end : words[-1].end + 2]
    return "\n" in text and not before.rpartition("\n")[2].strip(" ?-*>") and not behind.split("\n")[0].strip()


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
    before = text[max(0, start - 8) : start].rstrip(" ")[-1:]
    return bool(before) and before not in ".!?\n:;\"'(-*>"
