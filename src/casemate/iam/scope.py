"""Scopes of grants: `*`, `model:NAME`, `dataset:NAME` or `deployment:NAME`, all within the grant's project.

A scope covers a resource by equality of kind and whole name; nothing is ever matched by prefix or pattern.
"""

from __future__ import annotations

from typing import NewType

from casemate.core import Environment, InputError, Resource, checked_name

Scope = NewType("Scope", str)

WHOLE_PROJECT = Scope("*")
_KINDS = frozenset({"model", "dataset", "deployment"})
_GIVEN = frozenset({"key", "grant", "issuer", "user", "provider"})


def parse_scope(text: str) -> Scope:
    """Return `text` as a Scope. Raises: InputError (bad-scope, bad-name)."""
    if text == WHOLE_PROJECT:
        return WHOLE_PROJECT
    kind, _, name = text.partition(":")
    if kind not in _KINDS:
        raise InputError(
            f"scope {text[:80]!r} is not valid: write *, model:NAME, dataset:NAME or deployment:NAME.", code="bad-scope"
        )
    return Scope(f"{kind}:{checked_name(name)}")


def scopes_covering(resource: Resource) -> tuple[str, ...]:
    """The only scopes that cover `resource`. A key, grant, binding or person is covered by what covers its own scope.

    So a whole kind (an empty name) is covered by `*` alone, and nobody hands out anything beyond their own scope.
    """
    if resource.kind in _GIVEN:
        asked = str(resource.attributes.get("scope", WHOLE_PROJECT))
        return (WHOLE_PROJECT,) if asked == WHOLE_PROJECT else (WHOLE_PROJECT, asked)
    if resource.kind == "prediction" and resource.name:
        return (WHOLE_PROJECT, f"deployment:{resource.name}")
    if resource.kind in _KINDS and resource.name:
        return (WHOLE_PROJECT, f"{resource.kind}:{resource.name}")
    return (WHOLE_PROJECT,)


def environment_covers(granted: Environment | None, asked: Environment | None) -> bool:
    """A grant for one environment covers only what names that environment."""
    return granted is None or granted == asked
