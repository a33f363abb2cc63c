"""One key cannot fill the log: requests have a rate, refusals beyond a few are counted, names are cut."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from casemate.client import Casemate
from casemate.console import Services, build_console
from casemate.console.bounds import ADDRESS_RATE, PRINCIPAL_RATE, REFUSAL_RATE, DecisionRefusals, RequestLimit
from casemate.core import LimitError, Principal, PrincipalKind
from casemate.doors import Recorder

PREFIX = "/api/v1"


async def sent(app, method: str, paths: list[str], key: str, **request) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=app, client=("198.51.100.9", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="https://casemate") as client:
        headers = {"Authorization": f"Bearer {key}"}
        return [await client.request(method, PREFIX + path, headers=headers, **request) for path in paths]


def test_a_key_that_asks_too_often_waits_and_its_entries_stop(services: Services, casemate: Casemate) -> None:
    issued = casemate.issue_key("asks-often", role="caller", deployment="x", expires="1h")
    with Recorder(services.sink, clock=services.clock) as recorder:
        app = build_console(services, recorder)
        app.state.requests = RequestLimit(monotonic=lambda: 0.0)
        before = services.log.size()
        burst = int(PRINCIPAL_RATE.burst)
        told = asyncio.run(sent(app, "GET", ["/grants"] * (burst + 50), issued["key"]))
    assert [answer.status_code for answer in told] == [200] * burst + [429] * 50
    assert (told[-1].json()["code"], told[-1].headers["retry-after"]) == ("rate-limited", "1")
    assert services.log.size() - before <= burst + 3  # the first of the refusals, and how many there were
    counted = [e for e in casemate.audit_entries(limit=100) if e.get("reason") == "rate-limited"]
    assert sum(entry["facts"]["count"] for entry in counted) == 50
    assert {entry["credential"] for entry in counted} == {issued["id"]}


def test_refused_decisions_beyond_a_few_are_counted_and_names_are_cut(services: Services, casemate: Casemate) -> None:
    issued = casemate.issue_key("is-refused", role="caller", deployment="x", expires="1h")
    burst = int(REFUSAL_RATE.burst)
    with Recorder(services.sink, clock=services.clock) as recorder:
        app = build_console(services, recorder)
        app.state.decision_refusals = DecisionRefusals(recorder, monotonic=lambda: 0.0)
        before = services.log.size()
        query = {"model": "m@1", "reason": "x" * 500}
        paths = [f"/deployments/{'d' * 3000}{number}" for number in range(burst + 40)]
        told = asyncio.run(sent(app, "PUT", paths, issued["key"], params=query))
    assert {answer.status_code for answer in told} == {403}
    bodies = list(services.log.bodies(before))
    assert len(bodies) <= burst + 3
    assert max(map(len, bodies)) < 2000
    entries = [
        one for one in casemate.audit_entries(action="deployment:deploy", limit=100) if one["outcome"] == "refused"
    ]
    assert entries[-1]["resource"] == "default/deployment:" + "d" * 80
    counted = [entry for entry in entries if entry.get("reason") == "forbidden"]
    assert sum(entry["facts"]["count"] for entry in counted) == 40
    assert {(entry["credential"], entry["resource"]) for entry in counted} == {(issued["id"], "default/deployment:*")}


def test_the_owner_on_the_homes_socket_is_not_held_up(services: Services, casemate: Casemate) -> None:
    for _ in range(int(PRINCIPAL_RATE.burst) + 20):
        casemate.grants.all()


def test_many_keys_from_one_address_share_its_rate() -> None:
    limit = RequestLimit(monotonic=lambda: 0.0)
    for number in range(int(ADDRESS_RATE.burst)):
        limit.count(Principal(f"svc_{number}", PrincipalKind.SERVICE, "a"), "2001:db8::1")
    with pytest.raises(LimitError) as refused:
        limit.count(Principal("svc_new", PrincipalKind.SERVICE, "a"), "2001:db8::2")
    assert refused.value.code == "rate-limited"
    limit.count(Principal("svc_new", PrincipalKind.SERVICE, "a"), "2001:db8:1::2")
