"""Unfamiliar use: what raises an alert, what does not, and that each is raised once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import Event, are_far, client_of, new_id, prefix_of, rfc3339
from casemate.iam import UnfamiliarUse

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOME, OFFICE, FAR = "198.51.100.7", "198.51.77.9", "203.0.113.5"


def event(seconds: float, address: str, credential: str = "key_a", **more: Any) -> Event:
    facts = {"address": address, "client": "curl/8", **more.pop("facts", {})}
    given = {"kind": "prediction", "outcome": "done", "actor": "svc_a", **more}
    return Event(id=new_id("evt"), at=rfc3339(START + timedelta(seconds=seconds)), credential=credential, facts=facts, **given)  # fmt: skip


def refused(seconds: float, credential: str = "key_a", count: int = 1, address: str = HOME, **more: Any) -> Event:
    facts = {"guard": "authenticate", "count": count}
    more = {"reason": "expired-credential", **more}
    return event(seconds, address, credential, outcome="refused", facts=facts, actor="", **more)


def rules(alerts: list[Event]) -> list[str]:
    assert all(alert.kind == "alert" and alert.id.startswith("evt_") for alert in alerts)
    return [alert.reason for alert in alerts]


def test_five_refused_attempts_within_ten_minutes_raise_one_alert() -> None:
    watch = UnfamiliarUse()
    assert rules(watch.look([refused(n * 100) for n in range(4)])) == []
    (alert,) = watch.look([refused(400)])
    assert (alert.reason, alert.credential, alert.facts["count"]) == ("refused-attempts", "key_a", 5)
    assert alert.facts["networks"] == ["198.51.100.0/24"]
    assert alert.facts["technique"] == "AML.T0012"
    assert rules(watch.look([refused(500 + n) for n in range(50)])) == [], "once within an hour"
    assert rules(watch.look([refused(4001 + n) for n in range(5)])) == ["refused-attempts"]


def test_attempts_that_are_further_apart_or_on_other_credentials_raise_none() -> None:
    watch = UnfamiliarUse()
    assert rules(watch.look([refused(n * 151) for n in range(40)])) == [], "five never fall within ten minutes"
    assert rules(watch.look([refused(9000 + n, credential=f"key_{n}") for n in range(4)])) == []


def test_refused_sign_ins_count_on_the_account_and_nobodys_on_none() -> None:
    def sign_in(seconds: float, actor: str, reason: str = "bad-sign-in") -> Event:
        return event(seconds, HOME, "", kind="sign-in", outcome="refused", actor=actor, reason=reason)

    watch = UnfamiliarUse()
    assert rules(watch.look([sign_in(n, "") for n in range(50)])) == [], "the door's refusals count on the network"
    told = [sign_in(60 + n, "usr_a") for n in range(4)] + [sign_in(64, "usr_a", "locked")]
    assert rules(watch.look(told)) == [], "a lock is no attempt of its own"
    (alert,) = watch.look([sign_in(70, "usr_a")])
    assert (alert.actor, alert.facts["subject"], alert.facts["networks"]) == ("usr_a", "usr_a", ["198.51.100.0/24"])


def test_a_session_in_two_far_networks_raises_one_alert() -> None:
    begun = event(0, HOME, "ses_a", kind="sign-in", outcome="allowed", actor="usr_a")
    used = event(60, FAR, "ses_a", kind="decision", outcome="allowed", actor="usr_a")
    assert rules(UnfamiliarUse().look([begun, used])) == ["far-networks"]


def test_counted_refusals_count_as_often_as_they_came() -> None:
    watch = UnfamiliarUse()
    (alert,) = watch.look([refused(0), refused(10, count=4)])
    assert alert.facts["count"] == 5


def test_unknown_keys_count_on_their_network_and_forgotten_ones_not_at_all() -> None:
    watch = UnfamiliarUse()
    unknown = [refused(n, credential="", address=f"203.0.113.{n}", reason="bad-credential") for n in range(5)]
    (alert,) = watch.look(unknown)
    assert alert.facts["subject"] == "network:203.0.113.0/24"
    assert rules(watch.look([refused(n, credential="", reason="no-credential") for n in range(50)])) == []


def test_what_a_known_caller_may_not_do_is_no_refused_attempt() -> None:
    watch = UnfamiliarUse()
    forbidden = [event(n, HOME, outcome="refused", facts={"guard": "authorise"}, reason="forbidden") for n in range(20)]
    assert rules(watch.look(forbidden)) == []


def test_two_far_networks_within_minutes_raise_one_alert() -> None:
    watch = UnfamiliarUse()
    assert rules(watch.look([event(0, HOME)])) == []
    (alert,) = watch.look([event(300, FAR)])
    assert alert.reason == "far-networks"
    assert alert.facts["networks"] == ["198.51.100.0/24", "203.0.113.0/24"]
    assert (alert.facts["address"], alert.facts["client"]) == (FAR, "curl/8")
    again = [event(301 + n, (HOME, FAR, "192.0.2.1")[n % 3]) for n in range(60)]
    assert rules(watch.look(again)) == [], "once within an hour"


@pytest.mark.parametrize(
    ("before", "seconds", "after"),
    [
        (HOME, 601, FAR),  # not within minutes
        (HOME, 60, HOME),
        (HOME, 60, OFFICE),  # one provider
        (HOME, 60, "2001:db8::1"),  # dual stack
        ("10.1.2.3", 60, "192.168.7.7"),  # a site numbers itself as it likes
        ("2001:db8:1::1", 60, "2001:db8:2::1"),
        (HOME, 60, "local"),  # the home's own socket
        (HOME, 60, ""),
    ],
)
def test_what_is_near_slow_or_unknown_raises_none(before: str, seconds: float, after: str) -> None:
    assert rules(UnfamiliarUse().look([event(0, before), event(seconds, after)])) == []


def test_two_credentials_in_two_networks_are_no_travel() -> None:
    assert rules(UnfamiliarUse().look([event(0, HOME), event(1, FAR, credential="key_b")])) == []


def test_a_network_that_was_seen_before_is_familiar_for_a_month() -> None:
    watch = UnfamiliarUse()
    day = 86400
    assert rules(watch.look([event(0, HOME), event(day, FAR), event(2 * day, HOME), event(2 * day + 60, FAR)])) == []
    later = 40 * day
    assert rules(watch.look([event(later, HOME), event(later + 60, FAR)])) == ["far-networks"]


def test_the_record_of_before_counts_and_the_event_itself_does_not() -> None:
    at = rfc3339(START)
    known = UnfamiliarUse(
        history=lambda *_: [("203.0.113.0/24", "2026-11-20T00:00:00.000000Z"), ("198.51.100.0/24", at)]
    )
    assert rules(known.look([event(60, FAR)])) == []
    unknown = UnfamiliarUse(history=lambda *_: [("198.51.100.0/24", at), ("203.0.113.0/24", rfc3339(START + timedelta(seconds=60)))])  # fmt: skip
    assert rules(unknown.look([event(60, FAR)])) == ["far-networks"]


def test_the_same_alert_has_the_same_id_after_a_restart() -> None:
    events = [event(0, HOME), event(60, FAR)]
    (first,), (second,) = UnfamiliarUse().look(events), UnfamiliarUse().look(events)
    assert first.id == second.id


def test_what_is_known_of_places_wins_over_numbers() -> None:
    class Places:
        def __init__(self, answer: bool | None) -> None:
            self.answer = answer

        def far(self, one: str, other: str) -> bool | None:
            return self.answer

    apart, near = [event(0, HOME), event(60, FAR)], [event(0, HOME), event(60, OFFICE)]
    assert rules(UnfamiliarUse(geography=Places(False)).look(apart)) == []
    assert rules(UnfamiliarUse(geography=Places(True)).look(near)) == ["far-networks"]
    assert rules(UnfamiliarUse(geography=Places(None)).look(apart)) == ["far-networks"]


def test_memory_is_bounded() -> None:
    from casemate.iam import UnfamiliarConfig

    watch = UnfamiliarUse(UnfamiliarConfig(subjects=10, networks=4))
    watch.look([event(n, f"10.{n % 250}.1.1", credential=f"key_{n}") for n in range(100)])
    watch.look([event(n, f"10.{n}.1.1") for n in range(100)])
    watch.look([refused(n, credential=f"key_{n}") for n in range(100)])
    assert len(watch._used) <= 10
    assert len(watch._refused) <= 10
    assert all(len(use.networks) <= 4 for use in watch._used.values())


@given(st.lists(st.tuples(st.integers(0, 5000), st.ip_addresses().map(str)), max_size=40))
def test_no_order_of_addresses_breaks_it_and_no_day_holds_two(uses: list[tuple[int, str]]) -> None:
    alerts = UnfamiliarUse().look([event(seconds, address) for seconds, address in sorted(uses)])
    times = [datetime.fromisoformat(alert.at) for alert in alerts]
    assert all((after - before).total_seconds() >= 86400 for before, after in pairwise(times))


@given(st.ip_addresses().map(str))
def test_a_prefix_holds_its_address_and_is_its_own_prefix(address: str) -> None:
    prefix = prefix_of(address)
    assert prefix_of(prefix) == prefix
    assert not are_far(prefix, prefix)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("local", ""),
        ("", ""),
        ("999.1.1.1", ""),
    ],
)
def test_prefixes(address: str, prefix: str) -> None:
    assert prefix_of(address) == prefix


def test_what_a_client_calls_itself_is_cut_and_printable() -> None:
    assert client_of("a" * 500) == "a" * 80
    assert client_of("curl\r\n\x1b[31m\u202eé") == "curl???[31m??"
