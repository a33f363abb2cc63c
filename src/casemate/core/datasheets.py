"""The datasheet of a dataset version: where it comes from, whose it is, what for, and why each column is needed.

Source: Gebru and others, "Datasheets for Datasets", 2021, as far as a table can be asked.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core.errors import InputError

MAX_SHEET = 1 << 20  # bytes of one, as JSON
_LONGEST = 4000  # characters of one answer
_NAMED = 10  # columns that a message names

# What is asked, in this order; the template says what each means.
QUESTIONS = {
    "origin": "Where the rows come from: system, table, address, study.",
    "owner": "Who answers for them: a person or a team, and how to reach them.",
    "licence": "Under which licence or agreement they may be used.",
    "purpose": "What they were collected for.",
    "collection": "How they were collected: by whom or what, when, from whom, with what consent.",
}


class Datasheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Part of the signed manifest. Args: columns: name -> why this column is needed. Others: as `QUESTIONS` says."""

    origin: str = ""
    owner: str = ""
    licence: str = ""
    purpose: str = ""
    collection: str = ""
    columns: dict[str, str] = {}
    schema: Literal[1] = 1

    def over(self, before: Datasheet | None, columns: list[str]) -> Datasheet:
        """This one, with what it leaves out as it was before, for a version that has `columns`."""
        known = before or Datasheet()
        answers = {name: getattr(self, name) or getattr(known, name) for name in QUESTIONS}
        why = {name: self.columns.get(name) or known.columns.get(name, "") for name in columns}
        return Datasheet(**answers, columns={name: text for name, text in why.items() if text})

    def missing(self, columns: list[str]) -> list[str]:
        """What is asked and not answered: names of questions, and `columns.NAME`."""
        asked = [name for name in QUESTIONS if not getattr(self, name)]
        return asked + [f"columns.{name}" for name in columns if name not in self.columns]

    def shown(self, columns: list[str]) -> dict[str, Any]:
        """As an answer: all questions, every column, and what is `missing`."""
        return {
            **{name: getattr(self, name) or None for name in QUESTIONS},
            "columns": {name: self.columns.get(name) for name in columns},
            "missing": self.missing(columns),
        }


def checked_sheet(given: object) -> Datasheet:
    """Args: given: plain values, as from JSON or TOML. Raises: InputError `bad-datasheet`."""
    try:
        sheet = msgspec.convert(given, Datasheet)
    except msgspec.ValidationError as error:
        raise _bad(str(error)) from error
    texts = {**{name: getattr(sheet, name) for name in QUESTIONS}, **sheet.columns}
    for name, text in texts.items():
        if len(text) > _LONGEST:
            raise _bad(f"what it says of {name[:80]!r} has over {_LONGEST} characters")
        if not all(character.isprintable() or character == "\n" for character in text):
            raise _bad(f"what it says of {name[:80]!r} is no plain text")
    cleaned = {name: text.strip() for name, text in sheet.columns.items() if text.strip()}
    return Datasheet(**{name: getattr(sheet, name).strip() for name in QUESTIONS}, columns=cleaned)


def read_sheet(data: bytes) -> Datasheet:
    """From JSON. Raises: InputError `bad-datasheet`."""
    if len(data) > MAX_SHEET:
        raise _bad(f"it has over {MAX_SHEET} bytes")
    try:
        return checked_sheet(msgspec.json.decode(data))
    except msgspec.DecodeError as error:
        raise _bad("it is no JSON") from error


def settled_sheet(
    given: Datasheet | None, before: Datasheet | None, columns: list[str], *, required: bool
) -> Datasheet | None:
    """The sheet of a version with `columns`: as given, the rest as it was before; None where nobody said anything.

    Raises: InputError `datasheet-columns`: it tells of a column that is not there; `datasheet-incomplete`: what is
        required is not answered.
    """
    unknown = [name for name in (given.columns if given else ()) if name not in columns]
    if unknown:
        raise InputError(
            f"The datasheet tells of columns that are not there: {', '.join(repr(one[:80]) for one in unknown[:_NAMED])}.",
            code="datasheet-columns",
        )
    sheet = (given or Datasheet()).over(before, columns)
    missing = sheet.missing(columns)
    if required and missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(
            f"This home takes no dataset without a whole datasheet; missing: {', '.join(missing[:_NAMED])}{more}. Write"
            " one with casemate dataset datasheet --template FILE, and push with --datasheet FILE.",
            code="datasheet-incomplete",
        )
    return None if sheet == Datasheet() else sheet


def _bad(why: str) -> InputError:
    return InputError(
        f"The datasheet cannot be read: {why[:300]}. casemate dataset datasheet --template FILE writes one.",
        code="bad-datasheet",
    )
