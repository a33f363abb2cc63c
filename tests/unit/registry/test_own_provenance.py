"""The provenance of our own trainings as a home stores it: whatever is altered of it is refused, with a code of its own."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import msgspec
import pytest
from registry_house import ANA, BEN, a_house, flip, push_model, table
from sqlalchemy import select, text

from casemate.core import CasemateError, Environment, canonical, parse_ref
from casemate.keys import Purpose
from casemate.registry import Brought, Lineage, Signers, Trainings
from casemate.registry.signers import SignerRequest
from casemate.registry.trainings import training_facts
from casemate.registry.versions import manifest_context
from casemate.signing import (
    OwnKey,
    Predicate,
    decode_envelope,
    encode_envelope,
    sign_statement,
    sign_training,
    strict_base64,
)
from casemate.signing.provenance import PROVENANCE, read_provenance
from casemate.signing.training_statement import BUILDER
from casemate.storage.database import attestations

REF = parse_ref("risk@1")
BEGAN, ENDED = "2026-11-24T11:00:00.000000Z", "2026-11-24T11:30:00.000000Z"
RUN = {"began": BEGAN, "ended": ENDED, "filename": "fit.py", "repository": {"commit": "d" * 40, "dirty": False}}
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
        lineage = Lineage(
            dataset=about, script=SCRIPT, parameters={"depth": number}, environment="sha256:" + "b" * 64, seed=7
        )
        more = {"kept": [("log", [b"fitted\n"])], "run": RUN}
        push_model(house, float(number), name="risk", lineage=lineage, intent=f"evt_{number}", **more)
    house.datasets.push("visits", table(5), actor=ANA, intent="evt_d2")
    house.models.approve(REF, Environment.DEV, actor=BEN, intent="evt_a")
    return house


def stored(house, ref=REF):
    with house.stores.engine.begin() as connection:
        return bytes(
            connection.execute(
                text("SELECT envelope FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
                {"p": PROVENANCE, "d": house.models.find(ref).digest},
            ).scalar()
        )


def put(house, envelope):
    with house.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE attestations SET envelope = :e WHERE predicate_type = :p AND version_digest = :d"),
            {"e": envelope, "p": PROVENANCE, "d": house.models.find(REF).digest},
        )


def said(house, about, facts, *, files=None):
    """What the home's own key signs of a training of risk@1."""
    manifest = house.models.find(REF).read_manifest()
    files = files or {path: entry.digest for path, entry in manifest.files.items()}
    kept = {path: entry.digest for path, entry in manifest.kept.items()}
    return sign_training(about, facts, files, kept, signer=house.pen.signer, at=house.clock.now())


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
    for facts in ({"script": OTHER, "parameters": {"depth": 1}}, {}, {"script": 7, "dataset": "x", "run": []}):
        put(trained, said(trained, about, facts))
        every_way_in(trained, "lineage-mismatch")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "a" * 64 + '"},"name":"script:',
            "c" * 64 + '"},"name":"script:',
        ),  # another script, for who reads dependencies
        ('"externalParameters":{', '"externalParameters":{"by":"eve",'),
        (BUILDER, "https://builder.example/1"),
        ('"subject":[{', '"subject":[{"annotations":{"a":1},'),
    ],
)
def test_a_statement_that_tells_others_another_origin(trained, old, new):
    """Signed with the home's own key, and what we read of it is as the manifest says."""
    payload = strict_base64(decode_envelope(stored(trained)).payload).decode()
    assert old in payload
    put(trained, encode_envelope(trained.pen.signer.sign(payload.replace(old, new).encode())))
    every_way_in(trained, "lineage-mismatch")


def test_a_statement_about_other_files(trained):
    about = trained.models.find(REF).about
    facts = training_facts(trained.stores, trained.models.find(REF))
    put(trained, said(trained, about, facts, files={"model.onnx": OTHER}))
    every_way_in(trained, "lineage-mismatch")
    put(trained, said(trained, about, facts))
    assert trained.models.verify(REF)["ok"]


def test_a_version_of_before_this_shape_verifies_on(trained):
    """Its statement was of a type of our own."""
    facts = older_shape(trained)
    assert trained.models.verify()["problems"] == []
    assert training_facts(trained.stores, trained.models.find(REF)) == facts
    assert Trainings(trained.stores).provenance(REF)["type"] == Predicate.TRAINING.value
    trained.models.load(REF).close()
    trained.deployments.deploy("live", REF, actor=ANA, intent="evt_dep")


def test_what_is_handed_on_is_what_was_checked(trained):
    """Whoever writes the database puts provenance of their own beside a statement of the older type."""
    older_shape(trained)
    with trained.stores.engine.begin() as connection:
        row = connection.execute(select(attestations).where(attestations.c.predicate_type == Predicate.TRAINING.value))
        forged = dict(row.mappings().one()) | {"id": "att_forged", "predicate_type": PROVENANCE, "envelope": b"forged"}
        connection.execute(attestations.insert().values(forged))
    told = Trainings(trained.stores).provenance(REF)
    assert told["type"] == Predicate.TRAINING.value
    assert "forged" not in told["envelope"]


def older_shape(trained):
    """The facts of a training, stated as they were before."""
    about, facts = trained.models.find(REF).about, training_facts(trained.stores, trained.models.find(REF))
    older = sign_statement(Predicate.TRAINING, about, facts, signer=trained.pen.signer, at=trained.clock.now())
    with trained.stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE attestations SET envelope = :e, predicate_type = :new WHERE predicate_type = :p AND version_digest = :d"
            ),
            {"e": older, "new": Predicate.TRAINING.value, "p": PROVENANCE, "d": about.digest},
        )
    return facts


def test_what_is_signed_is_slsa_that_others_read(trained):
    told = Trainings(trained.stores).provenance(REF)
    assert told["type"] == PROVENANCE
    payload = strict_base64(decode_envelope(told["envelope"].encode()).payload)
    read = read_provenance(payload)
    assert read.files == {"model.onnx": trained.models.show(REF)["files"]["model.onnx"]["digest"]}
    assert (read.model, read.builder, read.parameters) == ("risk", BUILDER, {"depth": 1})
    assert (read.seeds, read.by, read.started, read.finished) == ({"CASEMATE_SEED": 7}, ANA.id, BEGAN, ENDED)
    digest = trained.datasets.find(parse_ref("visits@1")).digest
    assert [(one.kind, one.name, one.digest) for one in read.dependencies] == [
        ("dataset", "visits@1", digest),
        ("script", "fit.py", SCRIPT),
        ("environment", "packages", "sha256:" + "b" * 64),
        ("other", "repository", ""),
    ]
    assert read.dependencies[-1].commit == "d" * 40
    run = json.loads(payload)["predicate"]["runDetails"]
    assert [one["name"] for one in run["byproducts"]] == ["log"]


def test_another_home_believes_it(trained, tmp_path):
    """One that trusts this home's release key for this model."""
    bundle = Trainings(trained.stores).provenance(REF)["envelope"].encode()
    (tmp_path / "other").mkdir()
    with a_house(tmp_path / "other") as other:
        with pytest.raises(CasemateError) as caught:
            push_model(other, 1.0, name="risk", brought=Brought(data=bundle))
        assert caught.value.code == "signer-not-trusted"
        pem = trained.keeper.public_pem(Purpose.RELEASE).decode()
        request = SignerRequest(models=("risk",), key=pem)
        Signers(other.stores, other.pen).add("home", request, life=timedelta(days=9), actor=ANA, intent="evt_s")
        pushed = push_model(other, 1.0, name="risk", brought=Brought(data=bundle, script=SCRIPT))
        assert pushed.version == 1
        assert other.models.verify()["ok"]
        shown = other.models.show(parse_ref("risk@1"))["provenance"]
        assert shown["witness"] == "outside"
        assert Trainings(other.stores).provenance(parse_ref("risk@1"))["envelope"].encode() == bundle


def test_a_version_that_was_only_pushed_has_none_to_hand_on(house):
    push_model(house, name="risk")
    refused("not-trained-here", Trainings(house.stores).provenance, REF)


def test_a_statement_of_the_same_number_with_other_content(trained):
    about = trained.models.find(REF).about
    other = msgspec.structs.replace(about, digest=OTHER)
    put(trained, said(trained, other, training_facts(trained.stores, trained.models.find(REF))))
    every_way_in(trained, "digest-mismatch")


def test_a_statement_that_was_stripped(trained):
    with trained.stores.engine.begin() as connection:
        connection.execute(
            text("DELETE FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
            {"p": PROVENANCE, "d": trained.models.find(REF).digest},
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
