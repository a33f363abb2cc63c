"""The kinds of personal data that are looked for, and what each asks for."""

from __future__ import annotations

from enum import StrEnum

from casemate.core import DataClass


class Kind(StrEnum):
    """What a value says about a person. `age`, `birth-date`, `postcode` and `sex` name nobody alone, and do so together."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    NATIONAL_ID = "national-id"
    IP = "ip"
    NAME = "name"
    ADDRESS = "address"
    POSTCODE = "postcode"
    BIRTH_DATE = "birth-date"
    AGE = "age"
    SEX = "sex"
    MEDICAL_RECORD = "medical-record"
    HEALTH = "health"
    ACCOUNT = "account"


class Treatment(StrEnum):
    """What becomes of a column's values; docs/personal-data.md says what each leaves."""

    KEEP = "keep"
    DROP = "drop"
    MASK = "mask"
    PSEUDONYM = "pseudonym"
    GENERALISE = "generalise"
    REPLACE = "replace"
    NOISE = "noise"
    REVERSIBLE = "reversible"
    SPANS = "spans"


QUASI = frozenset({Kind.AGE, Kind.BIRTH_DATE, Kind.POSTCODE, Kind.SEX})  # identify together, not alone
_HEALTH = frozenset({Kind.MEDICAL_RECORD, Kind.HEALTH})

_TREATMENTS = {
    Kind.EMAIL: Treatment.PSEUDONYM,
    Kind.PHONE: Treatment.REPLACE,
    Kind.CARD: Treatment.DROP,
    Kind.IBAN: Treatment.PSEUDONYM,
    Kind.NATIONAL_ID: Treatment.PSEUDONYM,
    Kind.IP: Treatment.GENERALISE,
    Kind.NAME: Treatment.PSEUDONYM,
    Kind.ADDRESS: Treatment.DROP,
    Kind.POSTCODE: Treatment.GENERALISE,
    Kind.BIRTH_DATE: Treatment.GENERALISE,
    Kind.AGE: Treatment.GENERALISE,
    Kind.SEX: Treatment.KEEP,
    Kind.MEDICAL_RECORD: Treatment.PSEUDONYM,
    Kind.HEALTH: Treatment.KEEP,
    Kind.ACCOUNT: Treatment.PSEUDONYM,
}


def proposed_treatment(kind: Kind) -> Treatment:
    """What a policy to start from does with a column of this kind."""
    return _TREATMENTS[kind]


def class_of(kind: Kind) -> DataClass:
    """The lowest data class that covers it."""
    return DataClass.HEALTH if kind in _HEALTH else DataClass.PERSONAL
