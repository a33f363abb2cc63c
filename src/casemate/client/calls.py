"""How the calls of each room reach the server: what `Casemate` hands them."""

from __future__ import annotations

from typing import Any, Protocol


class Get(Protocol):
    def __call__(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]: ...


class Items(Protocol):
    def __call__(self, path: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]: ...


class Change(Protocol):
    def __call__(self, method: str, path: str, **request: Any) -> dict[str, Any]: ...
