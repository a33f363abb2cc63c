"""Who may not issue a key is told the real reason, and what would help."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from casemate.client import Casemate


def call(app, method: str, path: str, **request) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://casemate") as client:
            return await client.request(method, path, **request)

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("role", "wanted", "expires", "reason", "step"),
    [
        (
            "data-scientist",
            "caller",
            "1m",
            "no policy lets data-scientist issue a key with the role caller",
            "ask an owner to issue it",
        ),
        (
            "operator",
            "owner",
            "1m",
            "no policy lets operator issue a key with the role owner",
            "ask an owner to issue it",
        ),
        ("owner", "caller", "2h", "would outlive the grants of whoever gives it", "a shorter time"),
    ],
)
def test_a_refused_key_names_the_real_reason(  # noqa: PLR0917 a row of the table
    app, casemate: Casemate, role: str, wanted: str, expires: str, reason: str, step: str
) -> None:
    key = casemate.issue_key(f"issuer-{role}", role=role, expires="1h")["key"]
    query = {"name": "wanted", "role": wanted, "expires": expires}
    told = call(app, "POST", "/api/v1/keys", params=query, headers={"Authorization": f"Bearer {key}"}).json()
    assert told["code"] == "forbidden"
    assert reason in told["detail"]
    assert step in told["detail"]
    assert "casemate key issue NAME" not in told["detail"]
