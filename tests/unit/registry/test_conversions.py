"""A conversion that this home has done, as it is stored: whatever is altered of it is refused, with a code of its own."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from registry_house import ANA, BEN, model_bytes, push_model
from sqlalchemy import text

from casemate.core import CasemateError, Environment, canonical, digest_of, parse_ref
from casemate.registry import Made
from casemate.registry.conversions import Compared, Conversion, ConvertedResult, ConvertedSource, Sample, Tolerance
from casemate.registry.revocations import descendants_of
from casemate.registry.versions import manifest_context
from casemate.signing import OwnKey, Predicate, decode_envelope, encode_envelope, sign_statement, strict_base64

REF = parse_ref("risk@1")
PICKLE, OTHER = "sha256:" + "a" * 64, "sha256:" + "c" * 64
RUN = {"began": "2026-11-24T12:00:00Z", "ended": "2026-11-24T12:00:09Z"}


def refused(code, call, *args, **kwargs):
    with pytest.raises(CasemateError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code, caught.value.message


def conversion(slope=1.0, *, source=PICKLE, path="model.onnx", **more):
    return Conversion(
        source=ConvertedSource(
            name="m.pkl",
            digest=source,
            format="pickle",
            findings=("pickle-not-served",),
            estimator="sklearn.linear_model.LinearRegression",
        ),
        result=ConvertedResult(path=path, digest=digest_of(model_bytes(slope)), format="onnx"),
        libraries={"onnx": "1.19"},
        warnings=(),
        sample=Sample(origin="made up", rows=300, digest="sha256:" + "b" * 64),
        compared=Compared(max_difference=3.1e-7, labels_differ=0, tolerance=Tolerance()),
        **more,
    )


@pytest.fixture
def converted(house):
    """risk@1 and risk@2 of one pickle, as a conversion leaves them."""
    for number in (1, 2):
        more = {"conversion": conversion(float(number)), "run": RUN, "intent": f"evt_{number}"}
        push_model(house, float(number), name="risk", **more)
    house.models.approve(REF, Environment.DEV, actor=BEN, intent="evt_a")
    return house


def stored(house, ref=REF, predicate=Predicate.CONVERSION):
    with house.stores.engine.begin() as connection:
        return bytes(
            connection.execute(
                text("SELECT envelope FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
                {"p": predicate.value, "d": house.models.find(ref).digest},
            ).scalar()
        )


def put(house, envelope):
    with house.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE attestations SET envelope = :e WHERE predicate_type = :p AND version_digest = :d"),
            {"e": envelope, "p": Predicate.CONVERSION.value, "d": house.models.find(REF).digest},
        )


def signed(house, about, said):
    return sign_statement(Predicate.CONVERSION, about, said, signer=house.pen.signer, at=house.clock.now())


def every_way_in(house, code):
    """Nothing loads, deploys or verifies, and whoever looks at the version is told."""
    refused(code, house.models.load, REF)
    refused(code, house.deployments.deploy, "live", REF, actor=ANA, intent="evt_dep")
    assert [one.id for one in house.models.verify(REF)["problems"]] == [code]
    shown = house.models.show(REF)["conversion"]
    assert (shown["attested"], shown["problem"]) == (False, code)


def test_what_is_signed_of_a_conversion(converted):
    shown = converted.models.show(REF)["conversion"]
    assert shown["attested"] is True
    assert shown["by"] == ANA.id
    assert (shown["began"], shown["ended"]) == (RUN["began"], RUN["ended"])
    assert shown["source"]["digest"] == PICKLE
    assert shown["sample"]["rows"] == 300
    assert shown["compared"] == {
        "max_difference": 3.1e-7, "labels_differ": 0, "tolerance": {"difference": 0.001, "labels": 0.01},
    }  # fmt: skip
    assert converted.models.verify() == {"ok": True, "checked": 2, "problems": []}
    (origin,) = converted.models.lineage(REF)["from"]
    assert (origin["kind"], origin["digest"], origin["findings"]) == ("converted file", PICKLE, ["pickle-not-served"])
    assert converted.models.card(REF)["conversion"]["by"] == ANA.id
    with converted.models.load(REF) as model:
        assert model.statements[Predicate.CONVERSION].facts["run"]["by"] == ANA.id
    properties = converted.models.bom(REF)["bom"]["metadata"]["component"]["properties"]
    assert {"name": "casemate:converted_from", "value": PICKLE} in properties


def test_a_version_that_was_pushed_has_none_whatever_lies_beside_it(house):
    files = [("model.onnx", [model_bytes()]), ("conversion.json", [msgspec.json.encode(conversion())])]
    pushed = house.models.push("risk", files, actor=ANA, intent="evt_1")
    assert pushed.version == 1
    assert house.models.show(REF)["conversion"] is None
    assert house.models.lineage(REF)["from"] == []
    assert house.models.card(REF)["conversion"] is None


def test_the_same_conversion_again_is_the_same_version(converted):
    run = {"began": "2027-01-01T00:00:00Z", "ended": "2027-01-01T00:00:01Z"}
    again = push_model(converted, 1.0, name="risk", conversion=conversion(1.0), run=run, intent="evt_3")
    assert (again.version, again.created) == (1, False)
    assert converted.models.show(REF)["conversion"]["began"] == RUN["began"]
    other = push_model(converted, 1.0, name="risk", conversion=conversion(1.0, source=OTHER), run=run, intent="evt_4")
    assert (other.version, other.created) == (3, True)


@pytest.mark.parametrize(
    "files",
    [
        [("model.onnx", [model_bytes(2.0)])],
        [("other.onnx", [model_bytes(1.0)])],
        [("model.onnx", [model_bytes(1.0)]), ("more.json", [b"{}"])],
    ],
    ids=["another file", "another name", "one more"],
)
def test_files_that_no_conversion_gave_are_no_version(house, files):
    refused(
        "conversion-mismatch", house.models.push, "risk", files, Made(conversion=conversion()), actor=ANA, intent="e"
    )
    assert house.blob_files() == []


@pytest.mark.parametrize(
    ("what", "new"),
    [
        (PICKLE, OTHER),  # another pickle
        (digest_of(model_bytes(1.0)), OTHER),  # another result
        ('"pickle-not-served"', '"nothing"'),
        ('"labels_differ":0', '"labels_differ":9'),
        ('"difference":0.001', '"difference":9.0'),
        (ANA.id, BEN.id),
        (RUN["ended"], "2020-01-01T00:00:00Z"),
    ],
)
def test_a_statement_that_was_edited(converted, what, new):
    read = json.loads(stored(converted))
    payload = strict_base64(read["payload"])
    assert what.encode() in payload
    read["payload"] = base64.b64encode(payload.replace(what.encode(), new.encode())).decode()
    put(converted, canonical(read))
    every_way_in(converted, "signature-invalid")


def test_the_statement_of_another_version(converted):
    put(converted, stored(converted, parse_ref("risk@2")))
    every_way_in(converted, "name-mismatch")


def test_a_statement_of_other_content_under_this_number(converted):
    about = msgspec.structs.replace(converted.models.find(REF).about, digest=OTHER)
    put(converted, signed(converted, about, msgspec.to_builtins(conversion())))
    every_way_in(converted, "digest-mismatch")


@pytest.mark.parametrize("predicate", [Predicate.SCAN, Predicate.RELEASE])
def test_another_statement_of_this_version_in_its_place(converted, predicate):
    put(converted, stored(converted, predicate=predicate))
    every_way_in(converted, "predicate-mismatch")


def test_a_statement_that_somebody_else_signed(converted):
    payload = strict_base64(decode_envelope(stored(converted)).payload)
    put(converted, encode_envelope(OwnKey.make().sign(payload)))
    every_way_in(converted, "signer-not-trusted")


@pytest.mark.parametrize(
    "said",
    [
        msgspec.to_builtins(conversion(source=OTHER)),
        msgspec.to_builtins(conversion(2.0)),
        msgspec.to_builtins(conversion(despite_findings=True)),
        {},
    ],
    ids=["another pickle", "another result", "other findings", "nothing"],
)
def test_another_conversion_signed_with_the_homes_own_key(converted, said):
    """Not even who can have a statement signed tells another conversion than the manifest."""
    put(converted, signed(converted, converted.models.find(REF).about, said))
    every_way_in(converted, "conversion-mismatch")


def test_a_statement_that_was_stripped(converted):
    with converted.stores.engine.begin() as connection:
        connection.execute(
            text("DELETE FROM attestations WHERE predicate_type = :p AND version_digest = :d"),
            {"p": Predicate.CONVERSION.value, "d": converted.models.find(REF).digest},
        )
    every_way_in(converted, "conversion-missing")


def test_a_statement_that_is_none(converted):
    for envelope in (b"", b"{}", b"\x00" * 100):
        put(converted, envelope)
        every_way_in(converted, "signature-malformed")


@pytest.mark.parametrize("drop", [True, False])
def test_another_conversion_in_the_manifest(converted, drop):
    """Encrypted as the home does it, which only who has its keys can: the digest in the release gives it away."""
    version = converted.models.find(REF)
    manifest = json.loads(version.manifest)
    manifest["conversion"]["source"]["digest"] = OTHER
    if drop:
        del manifest["conversion"]
    about = version.about
    context = manifest_context(about.project, about.kind.value, about.name, about.number)
    with converted.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE versions SET manifest = :m WHERE id = :i"),
            {"m": converted.stores.cipher.seal(canonical(manifest), context), "i": version.id},
        )
    refused("manifest-changed", converted.models.load, REF)
    assert [one.id for one in converted.models.verify(REF)["problems"]] == ["manifest-changed"]
    shown = converted.models.show(REF)
    assert shown["verified"] is False
    assert drop or shown["conversion"]["attested"] is False


def test_a_conversion_is_no_word_about_another_version_of_the_same_file(converted):
    """Pushed by hand, the very same model has no statement, and cannot borrow one."""
    pushed = push_model(converted, 1.0, name="risk", intent="evt_9")
    assert pushed.version == 3
    with converted.stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE attestations SET version_digest = :to WHERE predicate_type = :p AND version_digest = :d"),
            {"to": pushed.digest, "p": Predicate.CONVERSION.value, "d": converted.models.find(REF).digest},
        )
    assert converted.models.show(parse_ref("risk@3"))["conversion"] is None
    refused("conversion-missing", converted.models.load, REF)


def test_what_was_converted_from_a_pickle_ends_with_it(converted):
    push_model(converted, 3.0, name="fine", conversion=conversion(3.0, source=OTHER), intent="evt_5")
    push_model(converted, 4.0, name="also", conversion=conversion(4.0), intent="evt_6")
    found = descendants_of(converted.stores, converted.models.find(REF))
    assert sorted(f"{one.about.name}@{one.number}" for one in found) == ["also@1", "risk@2"]


def test_it_goes_with_its_version(converted):
    converted.models.delete(REF, intent="evt_del")
    with converted.stores.engine.begin() as connection:
        left = connection.execute(
            text("SELECT count(*) FROM attestations WHERE predicate_type = :p"), {"p": Predicate.CONVERSION.value}
        ).scalar()
    assert left == 1
