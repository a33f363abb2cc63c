"""Who is this, and may they: a key's lookup, a decision asked of Cedar, a kept decision, and one act through the gate.

1,000 keys in the ledger; the gate writes to a log in memory, so its figure is the door's own work. The clock is the
system's. Median of five runs.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from casemate.core import Action, Event, Resource, SystemClock, rfc3339
from casemate.iam import Access, Authorizer, Gate, Policies, issue_key, key_request, local_owner

KEYS = 1_000


@dataclass(frozen=True)
class Line:
    number: int
    at: str
    kind: str
    body: object


class Ledger:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    def append(self, entries: list, at: str) -> None:
        for kind, body in entries:
            self.lines.append(Line(len(self.lines) + 1, at, kind, body))

    def entries(self, after: int = 0) -> list[Line]:
        return self.lines[after:]


class Nowhere:
    def append(self, events: list[Event]) -> None:
        del events


def microseconds(act: Callable[[], object], repeat: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(repeat):
            act()
        return (time.perf_counter() - start) / repeat * 1e6

    return round(statistics.median(once() for _ in range(5)), 3)


def main() -> None:
    clock, ledger, owner = SystemClock(), Ledger(), local_owner(1000)
    for _ in range(KEYS):
        request = key_request("web", role="caller", scope="deployment:spam", now=clock.now())
        issued = issue_key(request, issuer=owner)
        ledger.append(issued.entries, rfc3339(clock.now()))
    start = time.perf_counter()
    access = Access(ledger, owner_uid=1000)
    access.refresh()
    folded = (time.perf_counter() - start) / len(ledger.lines) * 1e6
    authorizer = Authorizer(access=access, policies=Policies(), clock=clock)
    gate = Gate(log=Nowhere(), authorizer=authorizer, clock=clock)
    caller, spam = authorizer.authenticate(issued.key), Resource("deployment", "spam")
    model = Resource("model", "spam")

    def cold() -> None:
        authorizer._kept.clear()
        authorizer.decide(caller, Action.DEPLOYMENT_PREDICT, spam)

    def door() -> None:
        with gate.open(owner, Action.MODEL_PUSH, model, reason="bench"):
            pass

    rows = [
        ("key lookup", microseconds(lambda: authorizer.authenticate(issued.key), 20_000), "us"),
        ("cold decision", microseconds(cold, 500), "us"),
        (
            "cached decision",
            microseconds(lambda: authorizer.decide(caller, Action.DEPLOYMENT_PREDICT, spam), 50_000),
            "us",
        ),
        ("gate open and close", microseconds(door, 5_000), "us"),
        ("ledger entry folded", round(folded, 3), "us"),
    ]
    print(json.dumps([{"name": name, "value": value, "unit": unit} for name, value, unit in rows]))


if __name__ == "__main__":
    main()
