"""When a credential was last used is read from the log once, not at each question anew."""

from __future__ import annotations

from log_house import LogHouse, event
from sqlalchemy import event as listener


def use(credential: str, at: str, kind: str = "prediction", **more: object) -> object:
    return event(kind=kind, actor="svc_a", credential=credential, at=at, facts={"address": at[-3:]}, **more)


def test_the_newest_use_is_told_and_what_was_read_is_not_read_again(house: LogHouse) -> None:
    day = "2026-11-25T00:00:00.00000{}Z"
    house.log.append([use("key_old", day.format(n % 10)) for n in range(300)])
    reader = house.log.reader
    assert reader.last_use("svc_a", "key_new") is None
    assert reader.last_use("svc_a", "key_old") == (day.format(9), "09Z"[-3:])
    rows: list[object] = []

    def note(*args: object) -> None:
        values = args[3]
        rows.extend(values.values() if isinstance(values, dict) else values or ())

    listener.listen(reader.engine, "before_cursor_execute", note)
    house.log.append([use("key_new", day.format(1)), use("key_new", day.format(2), "outcome")])
    assert reader.last_use("svc_a", "key_new") == (day.format(1), "01Z")
    assert reader.last_use("svc_b", "key_new") is None
    read_from = [row for row in rows if isinstance(row, int)]
    assert 300 in read_from  # from the first entry that was not known


def test_the_newest_use_with_any_credential_is_told_of_an_actor(house: LogHouse) -> None:
    reader = house.log.reader
    house.log.append([use("ses_a", "2026-11-25T00:00:00.000001Z"), use("ses_b", "2026-11-25T00:00:00.000002Z")])
    assert reader.last_use("svc_a", "*") == ("2026-11-25T00:00:00.000002Z", "02Z")
    house.log.append([use("ses_a", "2026-11-25T00:00:00.000003Z")])
    assert reader.last_use("svc_a", "*") == ("2026-11-25T00:00:00.000003Z", "03Z")
    assert reader.last_use("svc_b", "*") is None


def test_a_sign_in_is_a_use_and_a_refused_one_is_anybodys(house: LogHouse) -> None:
    reader = house.log.reader
    house.log.append([use("", "2026-11-25T00:00:00.000001Z", "sign-in", outcome="refused")])
    assert reader.last_use("svc_a", "*") is None
    house.log.append([use("ses_a", "2026-11-25T00:00:00.000002Z", "sign-in", outcome="allowed")])
    assert reader.last_use("svc_a", "*") == ("2026-11-25T00:00:00.000002Z", "02Z")


def test_an_entry_that_was_altered_hides_no_other(house: LogHouse) -> None:
    house.log.append([use("key_a", "2026-11-25T00:00:00.000001Z"), use("key_b", "2026-11-25T00:00:00.000002Z")])
    house.change("UPDATE entries SET body = 'no json' WHERE seq = 0")
    assert house.log.reader.last_use("svc_a", "key_b") is not None
