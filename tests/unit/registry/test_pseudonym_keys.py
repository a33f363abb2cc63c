"""Keys of pseudonyms: shared by the versions that they were made for, rewrapped with the rest, gone with the last of them."""

from __future__ import annotations

from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rich
from registry_house import ANA, House
from sqlalchemy import delete, select, update
from test_deletions import put_back

from casemate.core import ConflictError, NotFoundError, VerificationError, parse_ref, seal_bytes
from casemate.privacy import Keys
from casemate.registry.dataset_push import Aside, Stated
from casemate.registry.pseudonym_keys import MADE_FROM, PSEUDONYM, REVERSIBLE, HeldKey, open_key
from casemate.registry.pseudonym_keys import keys_for as keys_of
from casemate.registry.versions import kept_blobs_of
from casemate.scanning import ConvertedDataset
from casemate.storage import DataKeys, open_home, reading
from casemate.storage.database import blobs, version_blobs

BOTH = (PSEUDONYM, REVERSIBLE)


def keys_for(stores, name, needed, source="visits"):
    return keys_of(stores, name, needed, source=source)


def made_of(source="visits") -> dict[str, dict[str, str]]:
    """As a version says it that the home made anonymous."""
    return {MADE_FROM: {"name": source}}


@contextmanager
def table(*texts: str):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"who": list(texts)}), sink)
    schema = {"schema": 1, "rows": len(texts), "columns": [{"name": "who", "type": "string", "role": "feature"}]}
    with ConvertedDataset(parquet=seal_bytes([sink.getvalue().to_pybytes()]), schema=schema, findings=()) as made:
        yield made


def push(house: House, *texts: str, keys=None, name="calm", intent="evt_1", source="visits"):
    with table(*texts) as made:
        said = Stated(keys=keys or {}, facts=made_of(source) if keys else {})
        return house.datasets.push_stated(name, made, said, actor=ANA, intent=intent)


def held(house: House, ref: str):
    version = house.datasets.find(parse_ref(ref))
    return {file: pieces[0].id for file, pieces in kept_blobs_of(house.stores, version).items()}


def secrets(keys) -> dict[str, bytes]:
    return {file: key.secret for file, key in keys.items()}


def test_versions_of_one_dataset_share_theirs_and_no_other_has_them(house: House) -> None:
    first = keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=first)
    assert len({*secrets(first).values()}) == 2
    again = keys_for(house.stores, "calm", BOTH)
    assert secrets(again) == secrets(first)
    push(house, "b", keys=again, intent="evt_2")
    assert held(house, "calm@1") == held(house, "calm@2")
    other = keys_for(house.stores, "other", BOTH)
    assert not {*secrets(other).values()} & {*secrets(first).values()}


def test_rows_of_another_dataset_never_meet_a_key_that_is_held(house: House) -> None:
    push(house, "a", keys=keys_for(house.stores, "calm", BOTH))
    for file in BOTH:
        with pytest.raises(ConflictError) as told:
            keys_for(house.stores, "calm", [file], source="guesses")
        assert told.value.code == "other-source"
        assert "visits" not in told.value.message, "it may be nobody's business what they were made of"
    assert keys_for(house.stores, "calm", [], source="guesses") == {}


def test_a_key_lies_encrypted_and_is_told_nowhere(house: House) -> None:
    keys = keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=keys)
    stored = b"".join(path.read_bytes() for path in house.folder.rglob("*") if path.is_file())
    shown = repr([keys, Stated(keys=keys), house.datasets.show(parse_ref("calm@1"))]).encode()
    for secret in secrets(keys).values():
        assert secret not in stored
        assert secret.hex().encode() not in shown
        assert repr(secret).encode() not in shown
    with house.datasets.open(parse_ref("calm@1")) as rows, pytest.raises(NotFoundError):
        rows.file(REVERSIBLE)
    with pytest.raises(NotFoundError):
        house.datasets.export(parse_ref("calm@1"), path=REVERSIBLE)


def test_a_key_dies_with_the_last_version_that_holds_it(house: House) -> None:
    keys = keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=keys)
    push(house, "b", keys=keys_for(house.stores, "calm", [REVERSIBLE]), intent="evt_2")
    ids = held(house, "calm@1")
    house.datasets.delete(parse_ref("calm@1"), intent="evt_3")
    with reading(house.stores.engine) as connection:
        left = set(connection.execute(select(blobs.c.id)).scalars())
    assert (ids[PSEUDONYM] in left, ids[REVERSIBLE] in left) == (False, True)
    assert secrets(keys_for(house.stores, "calm", [REVERSIBLE]))[REVERSIBLE] == keys[REVERSIBLE].secret
    with put_back(house):
        house.datasets.delete(parse_ref("calm@2"), intent="evt_4")
    fresh = keys_for(house.stores, "calm", BOTH)  # whatever somebody put back
    assert not {*secrets(fresh).values()} & {*secrets(keys).values()}
    with pytest.raises(NotFoundError):
        house.datasets.find(parse_ref("calm@2"))


def test_what_is_restored_holds_the_keys_too(house: House) -> None:
    keys = keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=keys)
    push(house, "b", intent="evt_2")
    house.datasets.restore(parse_ref("calm@1"), actor=ANA, intent="evt_3")
    house.datasets.delete(parse_ref("calm@1"), intent="evt_4")
    version = house.datasets.find(parse_ref("calm@3"))
    assert open_key(house.stores, version, REVERSIBLE) == keys[REVERSIBLE].secret
    assert secrets(keys_for(house.stores, "calm", BOTH)) == secrets(keys)
    with pytest.raises(ConflictError):
        keys_for(house.stores, "calm", BOTH, source="guesses")
    assert house.datasets.verify()["ok"]


def test_what_is_left_by_a_quarantine_holds_them_and_how_they_were_made(house: House) -> None:
    keys, fact = keys_for(house.stores, "calm", BOTH), {"domains": {"who": "people"}}
    with table("a", "b") as made:
        said = Stated(keys=keys, facts={**made_of(), "anonymised": fact})
        house.datasets.push_stated("calm", made, said, actor=ANA, intent="evt_1")
    with table("a") as clean, seal_bytes([b"rows"]) as suspects:
        aside = Aside(suspects=suspects, report=b"{}", facts={"aside": 1}, widening=False)
        version = house.datasets.find(parse_ref("calm@1"))
        house.datasets.push_clean(version, clean, aside, actor=ANA, intent="evt_2")
    house.datasets.delete(parse_ref("calm@1"), intent="evt_3")
    left = house.datasets.find(parse_ref("calm@2"))
    assert left.read_manifest().facts["anonymised"] == fact
    assert open_key(house.stores, left, REVERSIBLE) == keys[REVERSIBLE].secret
    assert secrets(keys_for(house.stores, "calm", BOTH)) == secrets(keys)
    assert house.datasets.verify()["ok"]


def test_a_rotation_wraps_them_anew(house: House) -> None:
    keys = keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=keys)
    data_keys = DataKeys(open_home(house.folder), house.stores.engine, house.keeper.keyring)
    before = house.datasets.find(parse_ref("calm@1"))
    old = kept_blobs_of(house.stores, before)[REVERSIBLE][0].wrapped_key
    data_keys.rotate()
    data_keys.retire()
    assert kept_blobs_of(house.stores, before)[REVERSIBLE][0].wrapped_key != old
    assert open_key(house.stores, before, REVERSIBLE) == keys[REVERSIBLE].secret


def test_what_is_not_the_key_that_was_signed_is_no_key(house: House) -> None:
    push(house, "a", keys=keys_for(house.stores, "calm", BOTH))
    push(house, "b", keys=keys_for(house.stores, "other", BOTH), name="other", intent="evt_2")
    mine, theirs = held(house, "calm@1"), held(house, "other@1")
    version = house.datasets.find(parse_ref("calm@1"))

    def point(blob_id: str) -> None:
        with house.stores.engine.begin() as c:
            where = (version_blobs.c.version_id == version.id, version_blobs.c.path == f"/{REVERSIBLE}")
            c.execute(update(version_blobs).where(*where).values(blob_id=blob_id))

    for wrong in (theirs[REVERSIBLE], mine[PSEUDONYM]):
        point(wrong)
        for ask in (lambda: open_key(house.stores, version, REVERSIBLE), lambda: keys_for(house.stores, "calm", BOTH)):
            with pytest.raises(VerificationError) as told:
                ask()
            assert told.value.code == "file-changed"
    with house.stores.engine.begin() as c:
        c.execute(delete(version_blobs).where(version_blobs.c.path == f"/{REVERSIBLE}"))
    with pytest.raises(VerificationError):
        keys_for(house.stores, "calm", [REVERSIBLE])
    assert not house.datasets.verify()["ok"]


def test_two_who_make_the_first_key_at_once_do_not_both_keep_theirs(house: House) -> None:
    mine, theirs = keys_for(house.stores, "calm", BOTH), keys_for(house.stores, "calm", BOTH)
    push(house, "a", keys=theirs)
    files = house.blob_files()
    with pytest.raises(ConflictError) as told:
        push(house, "b", keys=mine, intent="evt_2")
    assert told.value.code == "pseudonym-keys"
    assert house.blob_files() == files


def test_a_key_that_went_meanwhile_is_not_brought_back(house: House) -> None:
    push(house, "a", keys=keys_for(house.stores, "calm", BOTH))
    known = keys_for(house.stores, "calm", BOTH)
    house.datasets.delete(parse_ref("calm@1"), intent="evt_2")
    with pytest.raises(ConflictError):
        push(house, "b", keys=known, intent="evt_3")
    assert house.blob_files() == []
    assert "secret" not in repr(HeldKey(secret=b"secret"))


def test_the_keys_of_a_run_are_shown_by_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    keys = Keys(pseudonym=b"secret", reversible=b"secret too")
    rich.print(keys, [keys])
    assert "secret" not in repr(keys) + str([keys]) + capsys.readouterr().out
