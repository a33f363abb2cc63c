"""Access reviews, as Python calls: `casemate.reviews`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casemate.client.connection import Connection
from casemate.core import checked_id

MOST = 500  # grants that one request answers for


class ReviewCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def all(self) -> list[dict[str, Any]]:
        return self._items("/reviews")

    def show(self, review_id: str) -> dict[str, Any]:
        """One review; `grants` has every grant in it, with its use, a proposal and the answer."""
        return self._get(f"/reviews/{checked_id(review_id)}")

    def open(
        self,
        title: str,
        *,
        due: str = "14d",
        assign: Sequence[str] = (),
        unanswered: str = "revoke",
        role: str | None = None,
        on: str | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Open a review of every grant that lives now, or of a `role` or scope (`on`) only."""
        query = {"title": title, "due": due, "assign": " ".join(assign), "unanswered": unanswered}
        return self._change("POST", "/reviews", query={**query, "role": role, "on": on, "reason": reason})

    def answer(
        self, review_id: str, *, keep: Sequence[str] = (), revoke: Sequence[str] = (), reason: str
    ) -> dict[str, Any]:
        """Answer for grants, 500 at a time; what is in `revoke` ends now."""
        answers = [*(("keep", one) for one in keep), *(("revoke", one) for one in revoke)]
        result: dict[str, Any] = {}
        for start in range(0, len(answers), MOST):
            part = answers[start : start + MOST]
            body = {word: [grant for said, grant in part if said == word] for word in ("keep", "revoke")}
            path = f"/reviews/{checked_id(review_id)}/answers"
            result = self._change("POST", path, query={"reason": reason}, json=body)
        return result

    def close(self, review_id: str, *, reason: str) -> dict[str, Any]:
        return self._change("POST", f"/reviews/{checked_id(review_id)}/closing", query={"reason": reason})

    def schedule(self) -> dict[str, Any]:
        """When reviews open by themselves; empty where none do."""
        return self._get("/review-schedule")

    def set_schedule(
        self,
        *,
        every: str = "90d",
        due: str = "14d",
        assign: Sequence[str] = (),
        unanswered: str = "revoke",
        title: str = "Access review",
        reason: str = "",
    ) -> dict[str, Any]:
        """Open a review now and every so often."""
        query = {"every": every, "due": due, "assign": " ".join(assign), "unanswered": unanswered, "title": title}
        return self._change("PUT", "/review-schedule", query={**query, "reason": reason})

    def end_schedule(self, *, reason: str) -> dict[str, Any]:
        return self._change("DELETE", "/review-schedule", query={"reason": reason})
