"""What kind of data a dataset holds, and so what a model may have learned: from `public` up to `health`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from casemate.core.errors import InputError


class DataClass(StrEnum):
    """In order: what may be known to all, what stays inside, what is about people, what is about their health."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    HEALTH = "health"

    @property
    def rank(self) -> int:
        return list(DataClass).index(self)


def checked_data_class(text: str) -> DataClass:
    """Raises: InputError `bad-data-class`."""
    if text not in set(DataClass):
        raise InputError(f"data class {text[:40]!r} is not one of {', '.join(DataClass)}.", code="bad-data-class")
    return DataClass(text)


def data_class_of(text: object) -> DataClass:
    """The class that a name on record stands for; of one that is not known, the highest."""
    return DataClass(str(text)) if text in set(DataClass) else DataClass.HEALTH


def highest_class(classes: Iterable[DataClass]) -> DataClass:
    """`internal` of none."""
    return max(classes, key=lambda one: one.rank, default=DataClass.INTERNAL)
