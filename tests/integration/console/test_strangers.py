"""A flood of sign-ins that all wait keeps nobody waiting who has a key."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from casemate.client import Casemate
from casemate.console import Services
from casemate.core import AuthError

FLOOD = 60  # more than there are threads for all other routes


def test_sign_ins_that_wait_take_no_thread_of_a_route(
    app: Any, services: Services, casemate: Casemate, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = casemate.issue_key("steady", role="auditor", expires="1h")["key"]
    goes_on, at_once, most = threading.Event(), threading.Semaphore(0), []

    def waits(*_: object) -> None:
        at_once.release()
        most.append(1)
        goes_on.wait(60)
        raise AuthError("No.", code="bad-sign-in")

    monkeypatch.setattr(services.sign_in, "sign_in", waits)

    async def scenario() -> tuple[list[int], list[int]]:
        def client(address: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app, client=(address, 50000)), base_url="https://casemate"
            )

        async def sign_in(number: int) -> int:
            async with client(f"198.51.100.{number}") as one:
                body = {"name": "ada", "password": "x", "code": "000000"}
                return (await one.post("/api/v1/session", json=body)).status_code

        flood = [asyncio.create_task(sign_in(number)) for number in range(FLOOD)]
        assert await asyncio.to_thread(at_once.acquire, timeout=120)
        async with client("192.0.2.9") as steady:
            headers = {"Authorization": f"Bearer {key}"}
            kept = [(await steady.get("/api/v1/status", headers=headers, timeout=120)).status_code for _ in range(5)]
        held = len(most)
        goes_on.set()
        assert held <= 8
        return kept, await asyncio.gather(*flood)

    kept, refused = asyncio.run(scenario())
    assert kept == [200] * 5
    assert set(refused) <= {401, 429}
    assert len(most) == FLOOD
