"""Text as a recogniser should see it: one form for what looks alike, and for each character its place in the original."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

# Letters of other scripts that are drawn as Latin ones. Source: Unicode Technical Standard 39, confusables, the letters alone.
_LOOKALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧορνι",
        "ABESIJKMHOPCTYXaesijopcyxhdqwABEZHIKMNOPTYXopvi",
        strict=True,
    )
)
_LOOKALIKE = re.compile("[" + "".join(_LOOKALIKES) + "]")
_WORD = re.compile(r"[\w.@\-]{1,256}")
_LATIN_OR_DIGIT = re.compile("[A-Za-z0-9]")
_INVISIBLE = frozenset({"Cf", "Cc", "Mn", "Me"})  # categories that show nothing by themselves
_KEPT = frozenset("\n\t\r")
_SIGNS = {"\u2212": "-", "\u2043": "-", "\u2018": "'", "\u2019": "'", "\u02bc": "'"}


class NormalText(NamedTuple):
    """`places[i]` is where character i of `text` stands in the original; None: at i."""

    text: str
    places: list[int] | None
    original: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span, with what is invisible inside it and right behind it."""
        if self.places is None:
            return start, end
        last = self.places[end - 1] + 1
        while last < len(self.original) and _is_invisible(self.original[last]):
            last += 1
        return self.places[start], last


def normal_text(original: str) -> NormalText:
    """Width, digits of all scripts, spaces and dashes in one form, and one space for several; invisible characters left out; a Cyrillic or Greek letter that is
    drawn as a Latin one becomes it in a word that has Latin letters or digits. Linear in the length."""
    if original.isascii() and original.isprintable() and "  " not in original:
        return NormalText(original, None, original)
    out: list[str] = []
    places: list[int] = []
    for place, character in enumerate(original):
        for one in _normal(character):
            if one != " " or out[-1:] != [" "]:
                out.append(one)
                places.append(place)
    text = "".join(out)
    if _LOOKALIKE.search(text):
        text = _WORD.sub(_latin, text)
    return NormalText(text, places, original)


def _normal(character: str) -> str:
    if character.isascii():
        return character if character >= " " or character in _KEPT else ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category in _INVISIBLE:
        return ""
    if category == "Zs":
        return " "
    return _SIGNS.get(character) or _shortened(character, category)


def _shortened(character: str, category: str) -> str:
    if category == "Pd":
        return "-"
    form = unicodedata.normalize("NFKC", character)
    return form if len(form) <= 4 else character


def _latin(word: re.Match[str]) -> str:
    text = word[0]
    return _LOOKALIKE.sub(lambda one: _LOOKALIKES[one[0]], text) if _LATIN_OR_DIGIT.search(text) else text


def _is_invisible(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character) in _INVISIBLE


def plain_letters(text: str) -> str:
    """Lower case, without accents: how words are looked up in lists."""
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
