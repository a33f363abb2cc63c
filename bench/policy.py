"""Decisions of Cedar: cold and kept beside bare cedarpy, with a home's own policies, and over more and more grants.

Bare cedarpy is asked the same question with parsed policies and entities, and no schema. Grants belong to 100 principals
in equal shares, on as many deployments; who is asked about is the last of them. Median of five runs, in CPU time of
the asking thread, since others use the machine.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import cedarpy

from casemate.core import Action, Environment, Principal, PrincipalKind, Resource, Role, SystemClock
from casemate.iam import SHIPPED_POLICIES, Access, Authorizer, Grant, Policies, issue_key, key_request, local_owner
from casemate.iam.conditions import conditions_of
from casemate.iam.policy_records import HomePolicy

GRANTS = (10, 1_000, 100_000)
PRINCIPALS = 100
FLAT = "<= 1.5"  # of the figure with the fewest grants; the machine is shared
OWN = """
@id("hours") forbid (principal, action == Action::"deployment:deploy", resource) unless { context.hour < 24 };
@id("office") forbid (principal, action == Action::"deployment:deploy", resource)
unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };
"""


@dataclass(frozen=True)
class Line:
    number: int
    at: str
    kind: str
    body: object


class Ledger:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    def append(self, entries: list, at: str = "2026-01-01T00:00:00Z") -> None:
        for kind, body in entries:
            self.lines.append(Line(len(self.lines) + 1, at, kind, body))

    def entries(self, after: int = 0) -> list[Line]:
        return self.lines[after:]


def microseconds(act: Callable[[], object], repeat: int) -> float:
    def once() -> float:
        start = time.thread_time()
        for _ in range(repeat):
            act()
        return (time.thread_time() - start) / repeat * 1e6

    return round(statistics.median(once() for _ in range(5)), 3)


def bare() -> Callable[[], object]:
    """The question of a prediction, as cedarpy alone is asked it."""
    policies = cedarpy.PolicySet.from_str((SHIPPED_POLICIES / "default.cedar").read_text())
    who = Principal(id="svc_1", kind=PrincipalKind.SERVICE, name="web")
    resource = Resource("deployment", "d", environment=Environment.DEV)
    rows = [
        {"uid": {"type": "Service", "id": "svc_1"}, "attrs": {}, "parents": [{"type": "Role", "id": "caller"}]},
        {"uid": {"type": "Deployment", "id": "d"}, "attrs": {}, "parents": [{"type": "Project", "id": "default"}]},
    ]
    entities = cedarpy.Entities.from_json_str(json.dumps(rows))
    request = {
        "principal": {"type": "Service", "id": "svc_1"},
        "action": {"type": "Action", "id": "deployment:predict"},
        "resource": {"type": "Deployment", "id": "d"},
        "context": conditions_of(who, resource, {"authenticated": True, "fresh": True}, datetime.now(UTC)),
    }
    assert cedarpy.is_authorized(request, policies, entities).allowed
    return lambda: cedarpy.is_authorized(request, policies, entities)


def house(grants: int) -> tuple[Authorizer, Principal, Resource]:
    ledger, clock = Ledger(), SystemClock()
    issued = []
    for _ in range(min(PRINCIPALS, grants)):
        request = key_request("web", role="caller", scope="deployment:d", now=clock.now())
        issued.append(issue_key(request, issuer=local_owner(1000)))
        ledger.append(issued[-1].entries)
    access = Access(ledger, owner_uid=1000)
    access.refresh()
    known = list(access.snapshot.principals)
    now = clock.now()
    for number in range(grants - len(issued)):
        record = Grant(
            id=f"grt_{number:032x}",
            principal=known[number % len(known)],
            project="default",
            role=Role.CALLER,
            scope=f"deployment:d{number}",
            reason="bench",
            granted_by="local:1000",
            granted_at=now,
            expires_at=now + timedelta(days=1),
        )
        ledger.append([("grant", record.body())])
    access.refresh()
    authorizer = Authorizer(access=access, policies=Policies(), clock=clock)
    return authorizer, authorizer.authenticate(issued[-1].key), Resource("deployment", "d", environment=Environment.DEV)


def main() -> None:
    rows = []

    def row(name: str, value: float, beside: float | None = None, **aim: str) -> None:
        compared = {"beside": beside, "ratio": round(value / beside, 3)} if beside else {}
        rows.append({"name": name, "value": value, "unit": "us", **compared, **aim})

    alone = microseconds(bare(), 500)
    row("bare cedarpy, a prediction", alone)
    first: dict[str, float] = {}
    for grants in GRANTS:
        authorizer, who, deployment = house(grants)

        def ask(authorizer: Authorizer = authorizer, who: Principal = who, deployment: Resource = deployment) -> bool:
            return authorizer.decide(who, Action.DEPLOYMENT_PREDICT, deployment).allowed

        def cold(ask: Callable[[], bool] = ask, authorizer: Authorizer = authorizer) -> None:
            authorizer._kept.clear()
            ask()

        assert ask()
        for name, value in (("cold decision", microseconds(cold, 500)), ("kept decision", microseconds(ask, 50_000))):
            first.setdefault(name, value)
            if grants == GRANTS[0]:
                row(f"{name}, {grants:,} grants, beside bare cedarpy", value, alone)
            else:
                row(f"{name}, {grants:,} grants, beside {GRANTS[0]}", value, first[name], aim=FLAT)
    own = Policies().with_home(HomePolicy(version=1, text=OWN))
    assert not own.misfit
    owner, deploy = (
        local_owner(1000),
        Resource("deployment", "d", environment=Environment.DEV, attributes={"profile": "standard"}),
    )
    facts = {"authenticated": True, "fresh": True, "address": "10.0.0.1"}

    def deciding(policies: Policies) -> Callable[[], object]:
        roles = frozenset({Role.OWNER})
        return lambda: policies.decide(owner, Action.DEPLOYMENT_DEPLOY, deploy, roles=roles, context=facts)

    packaged = microseconds(deciding(Policies()), 500)
    row("a deployment, packaged policies", packaged)
    row("a deployment, with two of the home's own on time and address", microseconds(deciding(own), 500), packaged)
    checked = Policies()
    row("a text of the home's own, checked and compiled", microseconds(lambda: checked.check(OWN), 5))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
