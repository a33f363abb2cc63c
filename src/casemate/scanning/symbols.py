"""What stands for a value when a pickle is followed without being run."""

from __future__ import annotations

from typing import Any

import msgspec


class Import(msgspec.Struct, frozen=True):
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Made:
    """What a call would give back; `state` is what BUILD would set on it."""

    __slots__ = ("args", "function", "state")

    def __init__(self, function: Any, args: Any) -> None:
        self.function, self.args = function, args
        self.state: Any = None


class _Unknown:
    __slots__ = ()


UNKNOWN = _Unknown()


def extend(target: Any, items: list[Any]) -> None:
    """Append or set items, as far as anybody asks for them later: dictionaries under text keys."""
    if type(target) is dict:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str:
                target[key] = value
    elif type(target) is list:
        target.extend(items)
