"""Versions of one dataset share the pieces that they have in common, and each loses nothing when another goes."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from held_files import held
from registry_house import ANA, House, flip
from sqlalchemy import select, update

from casemate.core import ConflictError, InputError, VerificationError, parse_ref, seal_bytes
from casemate.core.datasheets import Datasheet
from casemate.registry import known_blobs
from casemate.scanning import ConvertedDataset, DatasetLimits, DescribedDataset
from casemate.scanning.dataset_conversion import convert
from casemate.storage.database import blobs, version_blobs

ROWS = 30_000


def rows(count: int = ROWS, seed: int = 1) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"a": rng.normal(size=count), "b": rng.integers(0, 9, count), "c": rng.normal(size=count)})


def as_converted(table: pa.Table) -> ConvertedDataset:
    """As the sandbox would hand it on."""
    sink, pieces = io.BytesIO(), list[bytes]()
    pq.write_table(table, sink)
    schema, _ = convert(held(sink.getvalue()), "rows", pieces.append, target=None, limits=DatasetLimits())
    sizes = tuple(map(len, pieces))
    return ConvertedDataset(parquet=seal_bytes(pieces), schema=schema, findings=(), pieces=sizes)


def push(house: House, table: pa.Table, intent: str, **more) -> dict:
    with as_converted(table) as converted:
        return house.datasets.push("rows", converted, actor=ANA, intent=intent, **more)


def content(house: House, ref: str) -> pa.Table:
    with house.datasets.open(parse_ref(ref)) as opened:
        return pq.read_table(io.BytesIO(opened.parquet.read()))


def pieces_of(house: House, number: int) -> list[str]:
    version = house.datasets.find(parse_ref(f"rows@{number}"))
    query = select(version_blobs.c.blob_id).where(version_blobs.c.version_id == version.id).order_by("piece")
    with house.stores.engine.connect() as connection:
        return list(connection.execute(query.where(version_blobs.c.path == "data.parquet")).scalars())


def test_a_changed_version_stores_what_changed(house: House) -> None:
    first = rows()
    middle = pa.concat_tables([first.slice(0, 15_000), rows(200, seed=2), first.slice(15_000)])
    whole = push(house, first, "evt_1")["stored"]
    changed = push(house, middle, "evt_2")
    assert (changed["created"], changed["stored"] < 0.8 * whole) == (True, True)
    assert set(pieces_of(house, 1)) & set(pieces_of(house, 2))
    assert content(house, "rows@1").equals(first)
    assert content(house, "rows@2").equals(middle)
    assert house.datasets.verify()["ok"]
    again = push(house, middle, "evt_3")
    assert (again["created"], again["stored"], again["version"]) == (False, 0, 2)


def test_equal_pieces_of_one_version_are_stored_once(house: House) -> None:
    same = pa.table({"a": [1.0] * 200_000})
    push(house, same, "evt_1")
    held_by = pieces_of(house, 1)
    assert len(set(held_by)) < len(held_by)
    assert content(house, "rows").equals(same)


def test_another_dataset_shares_nothing(house: House) -> None:
    push(house, rows(5000), "evt_1")
    with as_converted(rows(5000)) as converted:
        assert house.datasets.push("others", converted, actor=ANA, intent="evt_2")["stored"] > 0


def test_a_shared_piece_goes_with_the_last_version_that_holds_it(house: House) -> None:
    first = rows()
    more = pa.concat_tables([first, rows(100, seed=3)])
    push(house, first, "evt_1")
    push(house, more, "evt_2")
    shared = set(pieces_of(house, 1)) & set(pieces_of(house, 2))
    house.datasets.delete(parse_ref("rows@1"), intent="evt_3")
    assert shared <= known_blobs(house.stores)
    assert content(house, "rows@2").equals(more)
    house.datasets.delete(parse_ref("rows@2"), intent="evt_4")
    assert house.blob_files() == []
    assert known_blobs(house.stores) == set()


class _Meanwhile:
    """A table while whose pieces arrive something else happens."""

    def __init__(self, converted: ConvertedDataset, act: Callable[[], object]) -> None:
        self._converted, self._act = converted, act

    def stream(self, take: Callable[[bytes], None]) -> DescribedDataset:
        told = self._converted.stream(take)
        self._act()
        return told


def test_what_is_shared_may_not_be_deleted_meanwhile(house: House) -> None:
    first = rows(5000)
    push(house, first, "evt_1")
    with as_converted(pa.concat_tables([first, rows(10, seed=4)])) as converted:
        table = _Meanwhile(converted, lambda: house.datasets.delete(parse_ref("rows@1"), intent="evt_2"))
        with pytest.raises(ConflictError) as refused:
            house.datasets.push("rows", table, actor=ANA, intent="evt_3")
    assert refused.value.code == "rows-gone"
    assert house.blob_files() == []


def test_a_push_that_fails_leaves_the_shared_pieces(house: House) -> None:
    first = rows(5000)
    push(house, first, "evt_1")
    before = house.blob_files()

    def fail() -> None:
        raise InputError("The upload was cut off; send it again.", code="bad-upload")

    with as_converted(pa.concat_tables([first, rows(10, seed=4)])) as converted, pytest.raises(InputError):
        house.datasets.push("rows", _Meanwhile(converted, fail), actor=ANA, intent="evt_2")
    assert house.blob_files() == before
    assert not list((house.folder / "tmp").iterdir())
    assert content(house, "rows@1").equals(first)


@pytest.mark.parametrize("harm", ["altered", "gone", "swapped"])
def test_a_piece_is_shared_only_once_it_was_read_and_is_the_same(house: House, harm: str) -> None:
    first = rows()
    push(house, first, "evt_1")
    one, other = pieces_of(house, 1)[:2]
    path = house.folder / "blobs" / one[-2:] / one
    if harm == "altered":
        flip(path)
    elif harm == "gone":
        path.unlink()
    else:  # whoever can write the database calls one piece by another's digest
        with house.stores.engine.begin() as connection:
            digest = connection.execute(select(blobs.c.digest).where(blobs.c.id == one)).scalar()
            connection.execute(update(blobs).where(blobs.c.id == one).values(digest="sha256:" + "0" * 64))
            connection.execute(update(blobs).where(blobs.c.id == other).values(digest=digest))
    more = pa.concat_tables([first, rows(100, seed=5)])
    push(house, more, "evt_2")
    assert one not in pieces_of(house, 2) or harm == "swapped"
    assert content(house, "rows@2").equals(more)
    if harm != "swapped":
        with pytest.raises(VerificationError):
            content(house, "rows@1")


def test_pieces_in_another_order_are_not_what_was_signed(house: House) -> None:
    push(house, rows(), "evt_1")
    version = house.datasets.find(parse_ref("rows@1"))
    one, other = pieces_of(house, 1)[1:3]
    mine = update(version_blobs).where(version_blobs.c.version_id == version.id)
    with house.stores.engine.begin() as connection:
        for piece, blob in ((1, other), (2, one)):
            connection.execute(
                mine.where(version_blobs.c.path == "data.parquet", version_blobs.c.piece == piece).values(blob_id=blob)
            )
    assert not house.datasets.verify()["ok"]
    with pytest.raises(VerificationError):
        content(house, "rows@1")
    with pytest.raises(VerificationError):
        house.datasets.export(parse_ref("rows@1"))


def test_rows_are_handed_on_from_any_byte(house: House) -> None:
    push(house, rows(), "evt_1")
    size, _, whole = house.datasets.export(parse_ref("rows@1"))
    data = b"".join(whole)
    assert len(data) == size
    for start in (1, size // 2, size - 1, size):
        *_, rest = house.datasets.export(parse_ref("rows@1"), start=start)
        assert b"".join(rest) == data[start:]


def test_a_datasheet_is_signed_and_handed_on(house: House) -> None:
    push(house, rows(10), "evt_1", sheet=Datasheet(origin="the clinic", columns={"a": "to tell them apart"}))
    shown = house.datasets.show(parse_ref("rows"))["datasheet"]
    assert (shown["origin"], shown["columns"]["a"], shown["columns"]["b"]) == ("the clinic", "to tell them apart", None)
    assert shown["missing"] == ["owner", "licence", "purpose", "collection", "columns.b", "columns.c"]
    push(house, rows(11), "evt_2", sheet=Datasheet(owner="Ana", columns={"b": "it is asked"}))
    shown = house.datasets.show(parse_ref("rows"))["datasheet"]
    assert (shown["origin"], shown["owner"], shown["columns"]["a"]) == ("the clinic", "Ana", "to tell them apart")
    push(house, rows(12), "evt_3")
    assert house.datasets.show(parse_ref("rows"))["datasheet"]["owner"] == "Ana"
    assert house.datasets.show(parse_ref("rows@1"))["datasheet"]["owner"] is None


def test_a_datasheet_may_be_required_whole(house: House) -> None:
    with pytest.raises(InputError, match="origin") as refused:
        push(house, rows(10), "evt_1", sheet=Datasheet(owner="Ana"), sheet_required=True)
    assert refused.value.code == "datasheet-incomplete"
    assert house.blob_files() == []
    with pytest.raises(InputError, match="'typo'") as refused:
        push(house, rows(10), "evt_1", sheet=Datasheet(columns={"typo": "x"}))
    assert refused.value.code == "datasheet-columns"
    whole = Datasheet(
        origin="o", owner="o", licence="l", purpose="p", collection="c", columns=dict.fromkeys("abc", "w")
    )
    assert push(house, rows(10), "evt_2", sheet=whole, sheet_required=True)["created"]
    assert push(house, rows(11), "evt_3", sheet_required=True)["created"]  # as before
