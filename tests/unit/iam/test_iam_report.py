"""The report of access leaves nobody out, and says of each how things stand at this instant."""

from datetime import timedelta

from iam_house import OWNER, START, House, grant_body, revoked

from casemate.core import Role
from casemate.iam import access_report, issue_key, key_request, revoke_key

USED = {}


def rows(house: House, after: float = 0, uses: dict | None = None):
    at = START + timedelta(seconds=after)
    return list(access_report(house.access, now=at, last_use=lambda who, key: (uses or USED).get((who, key))))


def issue(house: House, name: str, role: str = "caller", life: float = 3600, **more):
    issued = issue_key(key_request(name, role=role, scope="*", now=START, life=life), issuer=OWNER, **more)
    house.append(issued.entries)
    return issued


def test_the_homes_owner_stands_first_and_never_ends() -> None:
    (owner,) = rows(House())
    assert (owner.name, owner.role, owner.scope, owner.until, owner.state) == ("local", "owner", "*", None, "active")


def test_each_grant_says_who_what_since_until_by_whom_why_and_when_used() -> None:
    house = House()
    issued = issue(house, "web", reason="the shop")
    principal = house.access.snapshot.credentials[issued.id].principal
    _, row = rows(house, uses={(principal, issued.id): ("2026-01-01T00:00:09.000000Z", "10.0.0.0/24")})
    assert (row.name, row.principal, row.credential, row.role, row.scope) == (
        "web", principal, issued.id, "caller", "*"
    )  # fmt: skip
    assert (row.since, row.until) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00.000000Z")
    assert (row.granted_by, row.granted_by_name, row.reason) == (OWNER.id, "local", "the shop")
    assert (row.last_used, row.last_used_from) == ("2026-01-01T00:00:09.000000Z", "10.0.0.0/24")
    assert rows(house)[1].last_used is None


def test_a_state_is_that_of_this_instant() -> None:
    house = House()
    issue(house, "web", life=10)
    assert rows(house, after=9.999999)[1].state == "active"
    assert rows(house, after=10)[1].state == "expired"
    assert rows(house)[1].state == "expired", "a clock that goes back revives nothing"


def test_a_grant_that_ends_before_its_key_ends_then() -> None:
    house = House()
    principal = house.access.snapshot.credentials
    issued = issue(house, "web")
    principal = house.access.snapshot.credentials[issued.id].principal
    house.append([("grant", grant_body(1, principal, role=Role.OWNER, life=10))])
    assert [(row.role, row.until, row.state) for row in rows(house, after=10)[1:]] == [
        ("caller", "2026-01-01T01:00:00.000000Z", "active"),
        ("owner", "2026-01-01T00:00:10.000000Z", "expired"),
    ]


def test_what_was_revoked_stays_in_the_report_and_says_how() -> None:
    house = House()
    key, grant, service = issue(house, "one", life=1), issue(house, "two"), issue(house, "three")
    house.append(revoke_key(house.access, key.id, by=OWNER, reason="lost", now=START))
    house.append([("grant", revoked(grant.entries[2][1]["id"]))])
    house.append([("principal", revoked(service.entries[0][1]["id"]))])
    found = rows(house, after=5)[1:]
    assert [row.state for row in found] == ["revoked"] * 3
    at = "2026-01-01T00:00:00.000000Z by local"
    assert [row.ended for row in found] == [
        f"key revoked {at}: lost", f"grant revoked {at}: left", f"service revoked {at}: left"
    ]  # fmt: skip


def test_another_projects_access_is_not_in_this_ones_report() -> None:
    house = House()
    house.issue("owner", project="fraud")
    assert len(rows(house)) == 1
    other = list(access_report(house.access, now=START, last_use=lambda *_: None, project="fraud"))
    assert [row.project for row in other] == ["fraud"]
