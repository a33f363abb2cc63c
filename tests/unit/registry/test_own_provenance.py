"""The provenance of our own trainings as a home stores it: whatever is altered of it is refused, with a code of its own."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from registry_house import ANA, BEN, flip, push_model, table
from sqlalchemy import text

from casemate.core import CasemateError, Environment, canonical, parse_ref
from casemate.registry import Lineage
from casemate.registry.versions import manifest_context
from casemate.signing import OwnKey, Predicate, decode_envelope, encode_envelope, sign_statement, strict_base64

REF = parse_ref("risk@1")
SCRIPT, OTHER = "sha256:" + "a" * 64, "sha256:" + "c" * 64


def refused(code, call, *args, **kwargs):
    with pytest.raises(CasemateError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code, caught.value.message


@pytest.fixture
def trained(house):
    """risk@1 and risk@2 of visits@1, as a training leaves them; visits@2 has other rows."""
    house.datasets.push("visits", table(4), actor=ANA, intent="evt_d")
    about = house.datasets.find(parse_ref("visits@1")).about
    for number in (1, 2):
        lineage = Lineage(dataset=about, script=SCRIPT, parameters={"depth": number}, environment="sha256:" + "b" * 64)
        push_model(house, float(number), name="risk", lineage=lineage, intent=f"evt_{number}")
    house.datasets.push("visits", table(5), actor=ANA, intent="evt_d2")
    house.models.approve(REF, Environment.DEV, actor=BEN, intent="evt_a")
    return house


def stored(house, ref=REF):
    with house.stores.engine.begin() as connection:
        return bytes(
            connection.execute(
                text("SELECT envelope FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
                {"p": Predicate.TRAINING.value, "d": house.models.find(ref).digest},
            ).scalar()
        )


def put(house, envelope):
    with house.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE attestations SET envelope = :e WHERE predicate_type = :p AND version_digest = :d"),
            {"e": envelope, "p": Predicate.TRAINING.value, "d": house.models.find(REF).digest},
        )


def every_way_in(house, code):
    """Nothing loads, deploys or verifies."""
    refused(code, house.models.load, REF)
    refused(code, house.deployments.deploy, "live", REF, actor=ANA, intent="evt_dep")
    assert [one.id for one in house.models.verify(REF)["problems"]] == [code]


def rewritten(envelope, old, new):
    """Other words in the payload, and the signature of before."""
    read = json.loads(envelope)
    payload = strict_base64(read["payload"])
    assert old in payload
    read["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    return canonical(read)


@pytest.mark.parametrize(
    ("what", "new"),
    [
        (SCRIPT, OTHER),  # another script
        ("sha256:" + "b" * 64, OTHER),  # another environment
        ('"depth":1', '"depth":9'),
        ('"name":"visits"', '"name":"others"'),  # another dataset
    ],
)
def test_a_training_statement_that_was_altered(trained, what, new):
    put(trained, rewritten(stored(trained), what.encode(), new.encode()))
    every_way_in(trained, "signature-invalid")


def test_the_statement_of_another_version(trained):
    put(trained, stored(trained, parse_ref("risk@2")))
    every_way_in(trained, "name-mismatch")


def test_another_statement_of_this_version_in_its_place(trained):
    with trained.stores.engine.begin() as connection:
        scan = connection.execute(
            text("SELECT envelope FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
            {"p": Predicate.SCAN.value, "d": trained.models.find(REF).digest},
        ).scalar()
    put(trained, bytes(scan))
    every_way_in(trained, "predicate-mismatch")


def test_a_statement_that_somebody_else_signed(trained):
    key = OwnKey.make()
    payload = strict_base64(decode_envelope(stored(trained)).payload)
    put(trained, encode_envelope(key.sign(payload)))
    every_way_in(trained, "signer-not-trusted")


def test_another_origin_signed_with_the_homes_own_key(trained):
    """Not even who can have a statement signed tells another origin than the manifest."""
    about = trained.models.find(REF).about
    facts = {"script": OTHER, "parameters": {"depth": 1}}
    put(trained, sign_statement(Predicate.TRAINING, about, facts, signer=trained.pen.signer, at=trained.clock.now()))
    every_way_in(trained, "lineage-mismatch")


def test_a_statement_of_the_same_number_with_other_content(trained):
    about = trained.models.find(REF).about
    other = msgspec.structs.replace(about, digest=OTHER)
    put(trained, sign_statement(Predicate.TRAINING, other, {}, signer=trained.pen.signer, at=trained.clock.now()))
    every_way_in(trained, "digest-mismatch")


def test_a_statement_that_was_stripped(trained):
    with trained.stores.engine.begin() as connection:
        connection.execute(
            text("DELETE FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
            {"p": Predicate.TRAINING.value, "d": trained.models.find(REF).digest},
        )
    every_way_in(trained, "signature-missing")


def test_a_statement_that_is_none(trained):
    for envelope in (b"", b"{}", b"\x00" * 100):
        put(trained, envelope)
        every_way_in(trained, "signature-malformed")


@pytest.mark.parametrize("drop", [True, False])
def test_another_origin_in_the_manifest(trained, drop):
    """Encrypted as the home does it, which only who has its keys can: the digest in the release gives it away."""
    version = trained.models.find(REF)
    manifest = json.loads(version.manifest)
    manifest["lineage"]["script"] = OTHER
    if drop:
        del manifest["lineage"]
    about = version.about
    context = manifest_context(about.project, about.kind.value, about.name, about.number)
    with trained.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE versions SET manifest = :m WHERE id = :i"),
            {"m": trained.stores.cipher.seal(canonical(manifest), context), "i": version.id},
        )
    every_way_in(trained, "manifest-changed")


def test_rows_that_were_altered_where_they_lie(trained):
    with trained.datasets.open(parse_ref("visits@1")):
        pass
    for path in trained.blob_files():
        flip(path)
    refused("blob-altered", trained.datasets.open, parse_ref("visits@1"))
    refused("blob-altered", trained.models.load, REF)
    assert {one.id for one in trained.models.verify()["problems"]} == {"file-unreadable"}
