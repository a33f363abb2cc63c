"""Two Authorization headers are refused: what stands before us may have looked at the other one."""

from __future__ import annotations

from typing import Any

from test_door import call

from casemate.client import Casemate


def test_two_authorization_headers_are_refused(app: Any, casemate: Casemate) -> None:
    owner, caller = (
        str(casemate.issue_key(f"is-{role}", role=role, expires="1h")["key"]) for role in ("owner", "caller")
    )
    for first, second in ((owner, caller), (caller, owner), (owner, owner)):
        headers = [("Authorization", f"Bearer {first}"), ("Authorization", f"Bearer {second}")]
        answer = call(app, "GET", "/api/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-framing")
    assert call(app, "GET", "/api/v1/models", headers={"Authorization": f"Bearer {owner}"}).status_code == 200
