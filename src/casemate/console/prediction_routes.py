"""What the record keeps of predictions: digests, shapes and summaries, of what was asked and answered. Never a value.

Who may read the record does not thereby read this: `prediction:read` is an action of its own.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import Query

from casemate.auditlog import leaf_hash
from casemate.console.callers import Call, Caller
from casemate.console.door import Door
from casemate.core import Action, NotFoundError, Resource, checked_id

_PREDICTION = "prediction"
_MARK = b'"kind":"prediction"'  # as our own encoder writes it; within a text its quotes would be escaped
# Facts of a prediction that say who had access to what, and nothing of what was asked or answered.
_OF_ACCESS = frozenset(
    {
        "version", "model", "profile", "environment", "roles", "policy", "address", "network", "client", "status",
        "guard", "count", "late",
    }
)  # fmt: skip
_DEPLOYMENT = re.compile(r"[^/]+/deployment:(.*)", re.DOTALL)


def declare(door: Door) -> None:
    """The routes under /deployments/{name}/predictions."""

    @door.read("/deployments/{name}/predictions", Action.PREDICTION_READ, about=_of_deployment)
    def predictions(
        call: Caller,
        name: str,
        actor: str = "",
        since: str = "",
        until: str = "",
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 50,
    ) -> dict[str, Any]:
        """What is kept of a deployment's predictions, newest first, a page of 200 at most."""
        resource = f"{call.principal.project}/deployment:{name}"
        page = call.services.log.page(
            after=after, limit=limit, since=since, until=until, kind=_PREDICTION, actor=actor, resource=resource
        )
        return {"items": page.items, "next": page.next}

    @door.read("/deployments/{name}/predictions/{receipt}", Action.PREDICTION_READ, about=_of_deployment)
    def prediction(call: Caller, name: str, receipt: str) -> dict[str, Any]:
        """One prediction, by its receipt."""
        found = call.services.log.outcome_of(checked_id(receipt))
        resource = f"{call.principal.project}/deployment:{name}"
        if found is None or found.kind != _PREDICTION or found.resource != resource:
            raise NotFoundError(
                f"No prediction of {name!r} has the receipt {receipt[:80]!r}: see casemate prediction list.",
                code="no-prediction",
            )
        shown: dict[str, Any] = msgspec.to_builtins(found)
        return shown


def _of_deployment(call: Call, arguments: dict[str, Any]) -> Resource:
    known = call.services.deployments.all().get(arguments["name"])
    return Resource(_PREDICTION, arguments["name"], environment=known.environment if known else None)


# Where the whole record is read ------------------------------------------------------------------------------------


def shown_entries(call: Call, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries as the caller may see them; that what is kept of predictions was read is on record."""
    if not any(_is_prediction(item) for item in items) or may_read_all(call):
        return items
    return [_withheld(item) if _is_prediction(item) else item for item in items]


def check_proof(call: Call, body: bytes) -> None:
    """A proof holds the whole entry. Raises: PolicyError, recorded: it is a prediction's."""
    item = msgspec.json.decode(body)
    if isinstance(item, dict) and _is_prediction(item):
        found = _DEPLOYMENT.fullmatch(str(item.get("resource", "")))
        call.read(Action.PREDICTION_READ, Resource(_PREDICTION, found[1][:80] if found else ""))


def exported(call: Call, bodies: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of an export. In place of a prediction stands its leaf, so that the tree can be recomputed all the same."""
    whole = may_read_all(call)
    for body in bodies:
        if whole or _MARK not in body:
            yield body + b"\n"
        else:
            yield msgspec.json.encode({"kind": _PREDICTION, "withheld": True, "leaf": leaf_hash(body).hex()}) + b"\n"


def may_read_all(call: Call) -> bool:
    """Whether the caller may read what is kept of all predictions; that they do is recorded."""
    everything = Resource(_PREDICTION)
    if not call.services.authorizer.decide(call.principal, Action.PREDICTION_READ, everything, **call.origin).allowed:
        return False
    call.read(Action.PREDICTION_READ, everything)
    return True


def _is_prediction(item: dict[str, Any]) -> bool:
    return item.get("kind") == _PREDICTION


def _withheld(item: dict[str, Any]) -> dict[str, Any]:
    facts = item.get("facts")
    if not isinstance(facts, dict):
        return item
    kept = {name: value for name, value in facts.items() if name in _OF_ACCESS}
    left = sorted(str(name) for name in facts if name not in _OF_ACCESS)
    return item | {"facts": {**kept, **({"withheld": left} if left else {})}}
