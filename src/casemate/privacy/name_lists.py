"""Given names, surnames and ordinary words, from lists that others keep: Faker's (MIT) of forty countries, zxcvbn's (MIT) of English."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from importlib import import_module

from casemate.privacy.normal_text import plain_letters

_LOCALES = (
    "en", "en_US", "en_GB", "en_IE", "en_IN", "en_NZ", "en_KE", "en_NG", "en_PK", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_BE", "fr_CH", "es_ES", "es_MX",
    "es_AR", "es_CL", "es_CO", "it_IT", "nl_NL", "nl_BE", "pt_BR", "pt_PT", "sv_SE", "no_NO", "da_DK", "fi_FI", "pl_PL", "cs_CZ", "sk_SK", "hu_HU",
    "ro_RO", "hr_HR", "sl_SI", "et_EE", "lt_LT", "lv_LV", "tr_TR", "id_ID", "vi_VN", "is_IS",
)  # fmt: skip
_GIVEN_TABLES = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary", "first_names_unisex")
_SURNAME_TABLES = ("last_names", "last_names_male", "last_names_female", "last_names_nonbinary")


@lru_cache(maxsize=1)
def _lists() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """(given names, surnames, ordinary words). zxcvbn keeps a word in that of its lists in which it is most frequent: `grace` is a name
    there, and `may` and `bridge` are words. Of its passwords, those that are names in a country's list, too, are no words."""
    frequent = import_module("zxcvbn.frequency_lists").FREQUENCY_LISTS
    given, surnames = _of_tables(_GIVEN_TABLES), _of_tables(_SURNAME_TABLES)
    names = {name for name, countries in given.items() if countries > 1} | set(surnames)
    passwords = set(frequent["passwords"]) - names
    words = frozenset(frequent["english_wikipedia"]) | frozenset(frequent["us_tv_and_film"]) | passwords
    return (
        frozenset(given) | frozenset(frequent["female_names"]) | frozenset(frequent["male_names"]),
        frozenset(surnames) | frozenset(frequent["surnames"]),
        words,
    )


def _of_tables(tables: tuple[str, ...]) -> Counter[str]:
    """Each word of a name, and in how many of the lists it stands."""
    found: Counter[str] = Counter()
    for locale in _LOCALES:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        tabled = [getattr(provider, table, ()) for table in tables]
        names = [name for listed in tabled if isinstance(listed, tuple | list | dict) for name in listed]
        found.update(
            {word for name in names for word in plain_letters(name).replace(".", " ").split() if len(word) > 1}
        )
    return found


def is_given_name(word: str) -> bool:
    """Args: word: as `plain_letters` makes it, here and below."""
    return word in _lists()[0]


def is_surname(word: str) -> bool:
    return word in _lists()[1]


def is_ordinary(word: str) -> bool:
    """Whether it is more often something else than a name."""
    return word in _lists()[2]


def load_lists() -> None:
    """So that nothing is read from the disk later."""
    _lists()
