"""What the dates of access reviews bring, on a real home: a schedule opens one, and its due date settles it."""

from __future__ import annotations

from casemate.client import Casemate
from casemate.console import tend_reviews


def test_the_schedule_opens_one_and_its_date_ends_what_nobody_answered(casemate: Casemate, services) -> None:
    key = casemate.issue_key("unanswered", role="caller", expires="10d")
    found = casemate.reviews.set_schedule(every="1d", due="1d", title="Daily", reason="to see")
    assert (found["title"], found["every"]) == ("Daily", 86400)
    (made,) = [one for one in casemate.reviews.all() if one["title"] == "Daily"]
    assert tend_reviews(services, services.access.owner) == []
    assert len([one for one in casemate.reviews.all() if one["title"] == "Daily"]) == 1, "not twice in a period"
    assert casemate.reviews.end_schedule(reason="seen") == casemate.reviews.schedule() == {}
    short = casemate.reviews.open("Short", due="60s", role="caller", reason="to see")
    grant = next(one for one in casemate.grants.all(state="active") if one["name"] == "unanswered")
    assert grant["id"] in {row["grant"] for row in casemate.reviews.show(short["id"])["grants"]}
    services.access.instant(services.access.instant(services.clock.now()).replace(year=2100))  # the date has come
    assert tend_reviews(services, services.access.owner) == []
    states = {one["id"]: one["state"] for one in casemate.reviews.all()}
    assert states[short["id"]] == states[made["id"]] == "closed"
    assert key["id"]
