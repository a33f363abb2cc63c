"""Rules of retention: what they end as the clock moves, what stays whatever they say, and what no pusher can bring about at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from registry_house import ANA, BEN, House, push_model, table
from sqlalchemy import select, update

from casemate.core import InputError, NotFoundError, StorageError, VerificationError, parse_ref, rfc3339
from casemate.registry import Lineage, Retention, checked_rule
from casemate.registry.releases import record_deletion
from casemate.registry.revocations import revocation
from casemate.registry.screening_records import JUDGED, VersionVerdict
from casemate.screening import Judged
from casemate.storage import reading
from casemate.storage.database import versions

DAY = 86400.0


def push(house: House, *rows: int, name: str = "visits") -> None:
    for number in rows:
        with table(number) as made:
            house.datasets.push(name, made, actor=ANA, intent=f"evt_{name}_{number}")


def later(house: House, days: float) -> None:
    house.clock.at += timedelta(days=days)


def left(house: House, name: str = "visits") -> list[int]:
    return [one.number for one in _live(house, name)]


def _live(house: House, name: str):
    found = []
    for number in range(1, 20):
        try:
            found.append(house.datasets.find(parse_ref(f"{name}@{number}")))
        except NotFoundError:
            continue
    return found


def tended(house: House) -> dict[str, list[int]]:
    """What the home deletes by itself at this moment."""
    retention, ended = Retention(house.stores, house.pen), {}
    for name, record in retention.rules().items():
        if due := retention.due(record):
            done = retention.apply(record, intent=f"evt_tend_{house.clock.at}")
            ended[name] = done["finished"] + done["deleted"]
            assert sorted(ended[name]) == due
    return ended


def kept(house: House, keep: int = 0, days: float = 0, name: str = "visits") -> Retention:
    retention = Retention(house.stores, house.pen)
    rule = checked_rule(keep, days * DAY)
    retention.keep(name, rule, reason="our rule", actor=BEN, intent="evt_rule")
    return retention


def test_what_is_too_old_ends_as_the_clock_moves(house: House) -> None:
    push(house, 2, 3)
    retention = kept(house, days=30)
    assert tended(house) == {}
    later(house, 20)
    push(house, 4)
    later(house, 9)
    assert tended(house) == {}
    later(house, 2)
    assert retention.show("visits")["due"] == [1, 2]
    assert tended(house) == {"visits": [1, 2]}
    assert (left(house), tended(house)) == ([3], {})
    later(house, 400)
    assert (tended(house), left(house)) == ({}, [3]), "the newest stays whatever its age"


def test_the_newest_stay_and_what_is_needed(house: House) -> None:
    push(house, 2, 3, 4, 5, 6)
    house.datasets.tag(parse_ref("visits@1"), "golden", actor=ANA, intent="evt_tag")
    about = house.datasets.find(parse_ref("visits@2")).about
    push_model(house, lineage=Lineage(dataset=about))
    kept(house, keep=2)
    later(house, 8)
    assert tended(house) == {"visits": [3]}
    assert left(house) == [1, 2, 4, 5]


def test_whoever_pushes_ends_nothing_before_a_week_has_passed(house: House) -> None:
    push(house, 2, 3)
    kept(house, keep=2, days=10)
    later(house, 100)
    push(house, 4, 5, 6)  # as somebody would who may push and not delete
    assert tended(house) == {}
    later(house, 6.9)
    assert (tended(house), left(house)) == ({}, [1, 2, 3, 4, 5])
    house.datasets.delete(parse_ref("visits@5"), intent="evt_seen")  # an owner saw it
    house.datasets.delete(parse_ref("visits@4"), intent="evt_seen_too")
    later(house, 1)
    assert tended(house) == {"visits": [1]}
    assert left(house) == [2, 3]


def test_a_rule_of_days_waits_no_longer_than_it_keeps(house: House) -> None:
    push(house, 2, 3)
    kept(house, days=1)
    later(house, 0.9)
    push(house, 4)
    later(house, 0.2)
    assert tended(house) == {"visits": [1]}
    assert left(house) == [2, 3], "the newest that has stood, and the newest"


def test_a_version_whose_age_is_not_as_it_was_signed_stays_and_takes_no_place(house: House) -> None:
    push(house, 2, 3)
    kept(house, days=30)
    old = rfc3339(house.clock.at - timedelta(days=365))
    with house.stores.engine.begin() as connection:
        connection.execute(update(versions).where(versions.c.number == 1).values(created_at=old))
    later(house, 8)
    assert (tended(house), left(house)) == ({}, [1, 2])


def test_a_rule_is_seen_and_ended(house: House) -> None:
    push(house, 2, 3)
    retention = kept(house, keep=1)
    shown = retention.show("visits")
    assert (shown["rule"], shown["by"], shown["reason"], shown["due"]) == (
        {"keep": 1, "life": 0.0, "stands": 7 * DAY}, BEN.id, "our rule", []
    )  # fmt: skip
    later(house, 8)
    record = retention.rules()["visits"]
    assert retention.due(record) == [1]
    retention.keep("visits", None, reason="no more", actor=ANA, intent="evt_end")
    assert (retention.rules(), retention.show("visits")) == ({}, {"name": "visits", "rule": None})
    assert retention.apply(record, intent="evt_late")["deleted"] == []
    assert left(house) == [1, 2]
    for ask in (
        lambda: retention.keep("visits", None, reason="again", actor=ANA, intent="evt_again"),
        lambda: retention.keep("none", checked_rule(1, 0), reason="x", actor=ANA, intent="evt_none"),
        lambda: retention.show("none"),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_one_dataset_that_is_gone_keeps_no_other_waiting(house: House) -> None:
    push(house, 2, name="gone")
    push(house, 2, 3)
    kept(house, keep=1, name="gone")
    kept(house, keep=1)
    house.datasets.delete(parse_ref("gone@1"), intent="evt_del")
    later(house, 8)
    assert tended(house) == {"visits": [1]}


@pytest.mark.parametrize(("keep", "life"), [(0, 0.0), (-1, DAY), (10_001, 0.0)])
def test_what_is_no_rule_is_refused(keep: int, life: float) -> None:
    with pytest.raises(InputError) as told:
        checked_rule(keep, life)
    assert told.value.code == "bad-retention"


def test_a_rule_that_nobody_can_read_stops_all(house: House) -> None:
    push(house, 2, 3)
    house.commit([("retention-rule", {"schema": 2})], "evt_x")
    with pytest.raises(VerificationError):
        Retention(house.stores, house.pen).rules()


def poisoned(house: House, number: int, intent: str) -> None:
    """A person says so."""
    about = house.datasets.find(parse_ref(f"visits@{number}")).about
    said = VersionVerdict(
        about=about, judged=Judged.POISONED, by=BEN.id, self_judged=False, reason="seen", at=rfc3339(house.clock.now())
    )
    house.commit([(JUDGED, msgspec.to_builtins(said))], intent)


def revoked(house: House, number: int, intent: str) -> None:
    version = house.datasets.find(parse_ref(f"visits@{number}"))
    house.commit([revocation(house.stores, version, actor=BEN, reason="poisoned")], intent)


def test_what_is_revoked_or_suspect_takes_no_place(house: House) -> None:
    """Whoever may push pushes poison, which is seen: the good versions stay for that."""
    push(house, 2, 3)
    kept(house, keep=2)
    later(house, 100)
    push(house, 4, 5, 6)
    revoked(house, 3, "evt_revoked")
    poisoned(house, 4, "evt_seen")
    revoked(house, 5, "evt_too")
    later(house, 100)
    assert (tended(house), left(house)) == ({}, [1, 2, 3, 4, 5])
    assert house.datasets.retain("visits", keep=2, life=0, trial=True, intent="")["deleted"] == []
    push(house, 7, 8)
    later(house, 8)
    assert (tended(house), left(house)) == ({"visits": [1, 2, 3, 4, 5]}, [6, 7])


@pytest.mark.parametrize("spoil", [revoked, poisoned])
def test_a_good_version_stays_whatever_came_after(house: House, spoil) -> None:
    push(house, 2, 3, 4)
    kept(house, days=2)
    spoil(house, 3, "evt_bad")
    later(house, 8)
    assert (tended(house), left(house)) == ({"visits": [1]}, [2, 3])


def half_deleted(house: House, number: int, name: str = "visits") -> None:
    """The signed state has its end, and its rows and files are there: as after a disk that failed in between."""
    version = house.datasets.find(parse_ref(f"{name}@{number}"))
    record_deletion(house.stores, house.pen, version, intent="evt_half")


def rows_left(house: House, name: str) -> list[int]:
    with reading(house.stores.engine) as connection:
        asked = select(versions.c.number).where(versions.c.name == name, versions.c.state == "live")
        return sorted(connection.execute(asked).scalars())


def test_a_deletion_that_was_not_finished_is_finished(house: House) -> None:
    push(house, 2, 3)
    push(house, 2, name="gone")
    retention = kept(house, keep=2)
    kept(house, keep=1, name="gone")
    half_deleted(house, 1)
    half_deleted(house, 1, name="gone")
    files = len(house.blob_files())
    assert retention.show("visits")["due"] == [1]
    assert tended(house) == {"gone": [1], "visits": [1]}
    assert (rows_left(house, "visits"), rows_left(house, "gone")) == ([2], [])
    assert len(house.blob_files()) < files
    assert tended(house) == {}


def test_retain_finishes_one_too(house: House) -> None:
    push(house, 2, 3)
    half_deleted(house, 1)
    trial = house.datasets.retain("visits", keep=5, life=0, trial=True, intent="")
    assert (trial["finished"], rows_left(house, "visits")) == ([1], [1, 2])
    done = house.datasets.retain("visits", keep=5, life=0, trial=False, intent="evt_retain")
    assert (done["finished"], done["deleted"], rows_left(house, "visits")) == ([1], [], [2])


class Refusing:
    """A lock that nobody gets."""

    def __enter__(self) -> None:
        raise AssertionError("who only looks makes every commit wait")

    def __exit__(self, *_: object) -> None: ...


def test_who_only_looks_makes_nobody_wait(house: House) -> None:
    push(house, 2, 3, 4)
    kept(house, keep=1)
    later(house, 8)
    retention = Retention(house.stores, replace(house.pen, deciding=Refusing()))
    assert retention.show("visits")["due"] == [1, 2]
    assert retention.due(retention.rules()["visits"]) == [1, 2]
    with pytest.raises(AssertionError):
        retention.apply(retention.rules()["visits"], intent="evt_x")


def test_a_rule_is_kept_though_nobody_can_say_what_it_ends(house: House) -> None:
    push(house, 2, 3)
    push_model(house)
    with house.stores.engine.begin() as connection:
        connection.execute(update(versions).where(versions.c.kind == "model").values(manifest=b"x"))
    retention = Retention(house.stores, house.pen)
    said = retention.keep("visits", checked_rule(1, 0), reason="our rule", actor=BEN, intent="evt_rule")
    assert (said["rule"]["keep"], retention.rules()["visits"].reason) == (1, "our rule")
    with pytest.raises(StorageError):
        retention.show("visits")


def test_a_rule_that_was_changed_meanwhile_deletes_nothing_under_the_old_name(house: House) -> None:
    push(house, 2, 3, 4)
    retention = kept(house, keep=1)
    later(house, 8)
    seen = retention.rules()["visits"]
    retention.keep("visits", checked_rule(2, 0), reason="fewer", actor=ANA, intent="evt_other")
    assert retention.apply(seen, intent="evt_late")["deleted"] == []
    assert left(house) == [1, 2, 3]
    assert tended(house) == {"visits": [1]}
