"""Access reviews: opening one on 10,000 grants, reading their use from 100,000 log entries, and what that proposes.

1,000 services hold ten grants each; every hundredth is used. Entries lie in SQLite in a file, as a home has them. Median of
three runs.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from access import Ledger
from casemate.auditlog.uses import UsesByActor
from casemate.core import rfc3339
from casemate.iam import (
    Access,
    Policies,
    Used,
    issue_key,
    key_request,
    local_owner,
    open_review,
    propose,
    review_ask,
    review_items,
)
from casemate.storage import migrate, open_database
from casemate.storage.database import entries, reading

HOLDERS, EACH, ENTRIES = 1_000, 10, 100_000
OWNER = local_owner(1000)
START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = START + timedelta(days=100)


def main() -> None:
    ledger = Ledger()
    holders = [issued(ledger) for _ in range(HOLDERS)]
    access = Access(ledger, owner_uid=1000)
    access.refresh()
    ask = review_ask(access, title="bench", assigned=(), unanswered="revoke", within=86400)
    opened: list[str] = []

    def open_one() -> None:
        review, said = open_review(access, ask, by=OWNER, now=NOW)
        ledger.append(said, rfc3339(NOW))
        access.refresh()
        opened.append(review)

    opening = seconds(open_one)
    items = review_items(access, opened[0], now=NOW)
    assert len(items) == HOLDERS * EACH
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder, 'log.db')}")
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(insert(entries), [row(number, holders) for number in range(ENTRIES)])
        with reading(engine) as connection:
            scanning = seconds(lambda: UsesByActor().of(connection, holders[0]))
            uses = UsesByActor()
            used = {one: [as_used(use) for use in uses.of(connection, one)] for one in holders}
        engine.dispose()
    policies = Policies()
    proposing = seconds(lambda: [propose(item.grant, used[item.grant.principal], policies, now=NOW) for item in items])
    print(
        json.dumps(
            [
                {"name": "opening a review of 10,000 grants", "value": round(opening * 1e3), "unit": "ms"},
                {"name": "reading the use out of 100,000 entries", "value": round(scanning * 1e3), "unit": "ms"},
                {"name": "10,000 proposals", "value": round(proposing * 1e3), "unit": "ms"},
            ]
        )
    )


def issued(ledger: Ledger) -> str:
    request = key_request("web", role="operator", scope="*", now=START, life=300 * 86400)
    made = issue_key(request, issuer=OWNER)
    ledger.append(made.entries, rfc3339(START))
    body = next(body for kind, body in made.entries if kind == "grant")
    for number in range(EACH - 1):
        more = {**body, "id": f"grt_{len(ledger.lines):032x}", "scope": f"deployment:d{number}"}
        ledger.append([("grant", more)], rfc3339(START))
    return str(body["principal"])


def row(number: int, holders: list[str]) -> dict[str, object]:
    at = rfc3339(START + timedelta(seconds=number))
    actor, resource = holders[number % (HOLDERS // 100)], f"default/deployment:d{number % 7}"
    said = {"at": at, "kind": "intent", "action": "deployment:pause", "actor": actor, "outcome": "allowed"}
    body = {**said, "resource": resource, "facts": {"policies": ["operator"], "environment": "production"}}
    columns = {"seq": number, "id": f"int_{number}", "resource": resource, "leaf": b"", "project": "default", **said}
    return {**columns, "body": json.dumps(body).encode(), "schema": 1}


def as_used(use: object) -> Used:
    kind, _, name = use.resource.partition("/")[2].partition(":")  # type: ignore[attr-defined]
    return Used(
        action=use.action, kind=kind, name=name, environment=use.environment, policies=use.policies,  # type: ignore[attr-defined]
        count=use.count, last=use.last,  # type: ignore[attr-defined]
    )  # fmt: skip


def seconds(act: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(3))


if __name__ == "__main__":
    main()
