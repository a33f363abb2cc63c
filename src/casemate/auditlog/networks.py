"""Where a credential was used, as the log has it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Engine, select

from casemate.core import Event, prefix_of
from casemate.storage import reading
from casemate.storage.database import entries

NEWEST = 2000  # entries of an actor that are looked at, the newest first


class NetworkSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Args: network: a /24 or /48. first_at, last_at: RFC 3339. client: what the last one called itself; anybody may
    claim anything there."""

    network: str
    first_at: str
    last_at: str
    uses: int
    client: str = ""


def networks_seen(engine: Engine, actor: str, credential: str, *, newest: int = NEWEST) -> list[NetworkSeen]:
    """The networks from which `actor` used `credential`, the latest first, among the newest entries of that actor."""
    seen: dict[str, NetworkSeen] = {}
    for event in _uses(engine, actor, credential, newest):
        prefix = prefix_of(str(event.facts.get("address", "")))
        if not prefix:
            continue
        before = seen.get(prefix)
        seen[prefix] = (
            msgspec.structs.replace(before, first_at=event.at, uses=before.uses + 1)
            if before
            else NetworkSeen(
                network=prefix,
                first_at=event.at,
                last_at=event.at,
                uses=1,
                client=str(event.facts.get("client", "")),
            )
        )
    return list(seen.values())


def _uses(engine: Engine, actor: str, credential: str, newest: int) -> Iterator[Event]:
    query = (
        select(entries.c.body)
        .where(entries.c.actor == actor, entries.c.kind.in_(("decision", "intent", "prediction")))
        .order_by(entries.c.seq.desc())
        .limit(newest)
    )
    with reading(engine) as connection:
        bodies = connection.execute(query).scalars().all()
    for body in bodies:
        try:
            event = msgspec.json.decode(body, type=Event)
        except msgspec.DecodeError:  # altered: verification names it
            continue
        if event.credential == credential and event.facts.get("guard") != "authenticate":
            yield event
