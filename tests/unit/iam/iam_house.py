"""A house with a ledger and a log in memory; the clock is set by hand."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from casemate.core import Environment, Event, Principal, Role, StorageError, rfc3339
from casemate.iam import (
    Access,
    Authorizer,
    Gate,
    Grant,
    IssuedKey,
    Policies,
    Revoked,
    issue_key,
    key_request,
    local_owner,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = local_owner(1000)
POLICIES = Policies()


@dataclass
class HandClock:
    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Line:
    number: int
    at: str
    kind: str
    body: object


@dataclass
class Ledger:
    lines: list[Line] = field(default_factory=list)
    read: int = 0
    failure: Exception | None = None

    def entries(self, after: int = 0) -> list[Line]:
        if self.failure:
            raise self.failure
        found = self.lines[after:]
        self.read += len(found)
        return found

    def append(self, entries: list, at: datetime = START) -> None:
        for kind, body in entries:
            self.lines.append(Line(len(self.lines) + 1, rfc3339(at), kind, body))


@dataclass
class Log:
    """Keeps events; refuses those of the kinds in `refuse`."""

    events: list[Event] = field(default_factory=list)
    refuse: frozenset[str] = frozenset()
    failure: Exception = field(default_factory=lambda: StorageError("The disk is full.", code="disk-full"))

    def append(self, events: list[Event]) -> None:
        if any(event.kind in self.refuse for event in events):
            raise self.failure
        self.events.extend(events)

    def open_intents(self) -> list[Event]:
        closed = {event.facts["intent"] for event in self.events if event.kind == "outcome"}
        return [event for event in self.events if event.kind == "intent" and event.id not in closed]


class House:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.ledger = Ledger()
        self.log = Log()
        self.access = Access(self.ledger, owner_uid=1000)
        self.authorizer = Authorizer(access=self.access, policies=POLICIES, clock=self.clock)
        self.gate = Gate(log=self.log, authorizer=self.authorizer, clock=self.clock)

    def append(self, entries: list) -> None:
        self.ledger.append(entries, self.clock.at)
        self.access.refresh()

    def issue(
        self,
        role: str = "caller",
        scope: str = "*",
        *,
        life: float = 3600,
        environment: Environment | None = None,
        project: str = "default",
        issuer: Principal = OWNER,
    ) -> IssuedKey:
        request = key_request(
            "somebody", role=role, scope=scope, now=self.clock.at, life=life, environment=environment, project=project
        )
        issued = issue_key(request, issuer=issuer)
        self.append(issued.entries)
        return issued

    def holder(self, role: str = "caller", scope: str = "*", **more) -> Principal:
        return self.authorizer.authenticate(self.issue(role, scope, **more).key)


def grant_body(number: int, principal: str, scope: str = "*", role: Role = Role.CALLER, life: float = 3600) -> dict:
    return Grant(
        id=f"grt_{number:032x}",
        principal=principal,
        project="default",
        role=role,
        scope=scope,
        reason="test",
        granted_by=OWNER.id,
        granted_at=START,
        expires_at=START + timedelta(seconds=life),
    ).body()


def revoked(identifier: str) -> dict:
    return Revoked(id=identifier, reason="left", revoked_by=OWNER.id, revoked_at=START).body()
