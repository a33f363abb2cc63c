"""What broke off on its way in waits for its sender, for an hour, encrypted, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_house import House

from casemate.core import ConflictError, InputError, TooLargeError, digest_of
from casemate.storage import CUT_OFF, Quota, Sending, Uploads
from casemate.storage import uploads as room

FIRST, REST = b"first " * 40_000, b"rest " * 50_000
ANA = Sending(sender="usr_ana:rows", id="upl_1")


def broken(data: bytes, code: str = CUT_OFF) -> Iterator[bytes]:
    yield data
    raise InputError("The line is gone.", code=code)


class Hour:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.engine.dispose()


@pytest.fixture
def hour() -> Hour:
    return Hour()


@pytest.fixture(params=["in memory", "on the disk"])
def uploads(
    request: pytest.FixtureRequest, house: House, hour: Hour, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Uploads]:
    if request.param == "on the disk":
        monkeypatch.setattr(room, "_IN_MEMORY", 1000)
    made = Uploads(house.blobs.receive, monotonic=hour)
    yield made
    made.close()
    assert not list(house.blobs.pending.iterdir())


def break_off(uploads: Uploads, sending: Sending, data: bytes = FIRST, code: str = CUT_OFF) -> None:
    with pytest.raises(InputError) as caught, uploads.receive(broken(data, code), sending):
        pytest.fail("it never was whole")
    assert caught.value.code == code


def on(sending: Sending, start: int) -> Sending:
    return Sending(sender=sending.sender, id=sending.id, start=start)


def test_what_broke_off_twice_goes_on_and_is_whole(uploads: Uploads, house: House) -> None:
    break_off(uploads, ANA)
    assert uploads.kept(ANA) == (len(FIRST), digest_of(FIRST))
    assert not any(b"first first" in file.read_bytes() for file in house.blobs.pending.iterdir())
    break_off(uploads, on(ANA, len(FIRST)), REST)
    with uploads.receive([FIRST], on(ANA, len(FIRST + REST))) as upload:
        assert upload.read_at(0, 1 << 30) == FIRST + REST + FIRST
        assert upload.read_at(len(FIRST) - 3, 6) == FIRST[-3:] + REST[:3]
    assert uploads.kept(ANA) is None


def test_only_its_sender_goes_on_and_only_where_it_ended(uploads: Uploads) -> None:
    break_off(uploads, ANA)
    others = [Sending(sender="usr_bob:rows", id=ANA.id), Sending(sender="usr_ana:other", id=ANA.id)]
    wrong = [on(ANA, len(FIRST) - 1), on(ANA, len(FIRST) + 1), *(on(one, len(FIRST)) for one in others)]
    for sending in wrong:
        with pytest.raises(ConflictError) as caught, uploads.receive([REST], sending):
            pytest.fail("it went on")
        assert caught.value.code == "upload-gone"
    assert [uploads.kept(one) for one in others] == [None, None]
    assert uploads.kept(ANA) is not None


def test_it_waits_for_an_hour(uploads: Uploads, hour: Hour) -> None:
    break_off(uploads, ANA)
    hour.now = 3599.9
    assert uploads.kept(ANA) is not None
    hour.now = 3600.0
    assert uploads.kept(ANA) is None


def test_what_ends_otherwise_or_has_no_name_is_not_kept(uploads: Uploads) -> None:
    break_off(uploads, ANA, code="bad-upload")
    break_off(uploads, Sending(sender="usr_ana:rows"))
    assert uploads.kept(ANA) is None
    assert uploads.kept(Sending(sender="usr_ana:rows")) is None


def test_one_sender_keeps_two_and_all_eight(uploads: Uploads) -> None:
    for number in range(4):
        break_off(uploads, Sending(sender="usr_ana:rows", id=f"upl_{number}"))
    kept = [uploads.kept(Sending(sender="usr_ana:rows", id=f"upl_{number}")) is not None for number in range(4)]
    assert kept == [False, False, True, True]
    for number in range(8):
        break_off(uploads, Sending(sender=f"usr_{number}:rows", id="upl_1"))
    kept = [uploads.kept(Sending(sender=f"usr_{number}:rows", id="upl_1")) is not None for number in range(8)]
    assert kept == [True] * 6 + [False] * 2


def test_the_bound_of_a_push_is_over_all_of_its_parts(uploads: Uploads, house: House) -> None:
    house.blobs.quota = Quota(push_bytes=len(FIRST) + 10, free_bytes=0)
    break_off(uploads, ANA)
    with pytest.raises(TooLargeError), uploads.receive([REST], on(ANA, len(FIRST))):
        pytest.fail("it was too large")
    assert uploads.kept(ANA) is None
