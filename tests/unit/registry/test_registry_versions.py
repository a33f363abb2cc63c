"""Versions: pushed whole or not at all, named by content, read back only as they were signed."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec
import pytest
from evil_models import all_models
from registry_house import ANA, BEN, flip, model_bytes, push_model, table
from sqlalchemy import delete, insert, select, update

from casemate.core import (
    AssetKind,
    CasemateError,
    Environment,
    Event,
    InputError,
    NotFoundError,
    ServedFile,
    TensorSpec,
    TooLargeError,
    Verdict,
    VerificationError,
    parse_ref,
)
from casemate.keys import Keeper, init_keys
from casemate.registry import Lineage, Made, Models, known_blobs, released_on_record, took_effect
from casemate.registry.versions import manifest_context
from casemate.scanning import scan
from casemate.signing import Predicate
from casemate.storage import BlobStore, Quota
from casemate.storage.database import attestations, blobs, version_blobs, versions

HOSTILE = b"cposix\nsystem\n(S'touch /tmp/casemate-registry-breached'\ntR."


def refused(code, call, *args, kind=VerificationError, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def attestation(house, digest, predicate):
    with house.stores.engine.begin() as c:
        return c.execute(
            select(attestations.c.envelope).where(
                attestations.c.version_digest == digest, attestations.c.predicate_type == predicate.value
            )
        ).scalar()


def put_attestation(house, digest, predicate, envelope):
    with house.stores.engine.begin() as c:
        c.execute(
            update(attestations)
            .where(attestations.c.version_digest == digest, attestations.c.predicate_type == predicate.value)
            .values(envelope=envelope)
        )


def test_a_model_comes_back_as_it_was_pushed(house):
    pushed = push_model(house)
    assert (pushed.verdict, pushed.version, pushed.created) == (Verdict.CLEAN, 1, True)
    with house.models.load(parse_ref("diagnosis@1")) as model:
        assert model.files["model.onnx"].read() == model_bytes()
        assert model.signature.inputs[0].shape == (-1, 2)
        assert model.about.digest == pushed.digest
        assert model.served == ServedFile(path="model.onnx", runtime="onnx")
        assert model.statements[Predicate.SCAN].facts["served"] == {"path": "model.onnx", "runtime": "onnx"}
    with house.models.load(parse_ref(f"diagnosis@{pushed.digest}")) as model:
        assert model.about.number == 1
    exported = {path: (size, b"".join(chunks)) for path, size, chunks in house.models.export(parse_ref("diagnosis"))}
    assert exported == {"model.onnx": (len(model_bytes()), model_bytes())}
    assert house.models.verify() == {"ok": True, "checked": 1, "problems": []}
    assert [row["name"] for row in house.models.newest()] == ["diagnosis"]


def test_the_same_content_is_the_same_version(house):
    first, again = push_model(house), push_model(house, intent="evt_2")
    assert (again.version, again.digest, again.created) == (1, first.digest, False)
    assert len(house.blob_files()) == 1
    other = push_model(house, 2.0, intent="evt_3")
    assert (other.version, other.created) == (2, True)
    assert house.models.find(parse_ref("diagnosis")).number == 2
    assert push_model(house, name="other").digest != first.digest


def test_a_hostile_file_is_refused_and_nothing_stays(house):
    pushed = house.models.push("m", [("model.pkl", iter([HOSTILE]))], actor=ANA, intent="evt_1")
    assert pushed.verdict is Verdict.REFUSED
    assert pushed.version is None
    assert pushed.findings
    assert house.blob_files() == []
    assert list((house.folder / "tmp").iterdir()) == []
    assert not took_effect(house.stores, "evt_1")
    with pytest.raises(NotFoundError):
        house.models.find(parse_ref("m"))


@pytest.mark.parametrize("name", ["onnx-weights-graph-before-skops", "onnx-weights-pickle"])
def test_what_hides_as_weights_is_refused_and_nothing_stays(house, name):
    files, finding = all_models()[name]
    pushed = house.models.push("m", [(path, [data]) for path, data in files.items()], actor=ANA, intent="evt_1")
    assert pushed.verdict is Verdict.REFUSED
    assert finding in {found.id for found in pushed.findings}
    assert house.blob_files() == []


def test_pushing_again_what_an_older_scan_said_too_little_of_makes_a_version(house):
    """Else the same content would come back as the version whose signed scan is refused."""
    older = Models(
        house.stores,
        house.pen,
        scan=lambda files: msgspec.structs.replace(scan(files), served=None),
        describe=lambda files, served: None,
    )
    first = older.push("diagnosis", [("model.onnx", [model_bytes()])], actor=ANA, intent="evt_1")
    again = push_model(house, intent="evt_2")
    assert (first.version, again.version, again.created) == (1, 2, True)


def test_what_does_not_load_is_refused_with_the_reason(house):
    def describe(files, served):
        raise VerificationError("It has no graph.", code="model-unloadable")

    models = Models(house.stores, house.pen, scan=scan, describe=describe)
    pushed = models.push("m", [("model.onnx", [model_bytes()])], actor=ANA, intent="evt_1")
    assert pushed.verdict is Verdict.REFUSED
    assert [finding.id for finding in pushed.findings][-1] == "model-unloadable"
    assert house.blob_files() == []


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "../x", "a" * 64, "naïve"])
def test_names_are_checked(house, name):
    refused("bad-name", push_model, house, name=name, kind=InputError)
    with table() as data:
        refused("bad-name", house.datasets.push, name, data, actor=ANA, intent="e", kind=InputError)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("../x", [b"a"])], "bad-path"),
        ([("x", [b"a"]), ("x", [b"b"])], "duplicate-file"),
        ([], "no-files"),
        ([(f"f{n}", [b"a"]) for n in range(201)], "too-many-files"),
    ],
)
def test_bad_pushes_leave_nothing(house, files, code):
    refused(code, house.models.push, "m", files, actor=ANA, intent="e", kind=InputError)
    assert house.blob_files() == []
    assert list((house.folder / "tmp").iterdir()) == []


def test_a_push_over_the_quota_leaves_nothing(house):
    house.stores.blobs.quota = Quota(push_bytes=10)
    refused("push-too-large", push_model, house, kind=TooLargeError)
    assert list((house.folder / "tmp").iterdir()) == []


def test_a_broken_upload_leaves_nothing(house):
    def chunks():
        yield b"half"
        raise ConnectionResetError

    with pytest.raises((ConnectionResetError, CasemateError)):
        house.models.push("m", [("model.onnx", chunks())], actor=ANA, intent="e")
    assert house.blob_files() == []
    assert list((house.folder / "tmp").iterdir()) == []


def test_a_push_that_cannot_be_committed_leaves_nothing(house, monkeypatch):
    def broken(*_args, **_more):
        raise OSError("disk gone")

    monkeypatch.setattr("casemate.registry.releases._insert", broken)
    with pytest.raises(OSError, match="disk gone"):
        push_model(house)
    assert house.blob_files() == []


def test_blobs_that_no_row_names_are_cleaned_at_start(house):
    push_model(house)
    (keep,) = house.blob_files()
    (keep.parent / f"blob_{'0' * 32}").write_bytes(b"x")
    assert house.stores.blobs.clean(known_blobs(house.stores)) == 1
    assert house.blob_files() == [keep]


def test_a_flipped_byte_is_found_and_named_and_not_loaded(house):
    push_model(house)
    push_model(house, 2.0, name="other")
    (path,) = [p for p in house.blob_files() if p.name in _blob_ids(house, "diagnosis")]
    for where in (0, None, -1):
        flip(path, where)
        with pytest.raises(VerificationError):
            house.models.load(parse_ref("diagnosis"))
        report = house.models.verify()
        assert (report["ok"], report["checked"]) == (False, 2)
        (problem,) = report["problems"]
        assert "'model.onnx'" in problem.evidence
        assert problem.location == "model:diagnosis@1"
        flip(path, where)
    assert house.models.verify()["ok"]


@pytest.mark.parametrize("column", ["created_by", "created_at", "data_class"])
def test_a_row_that_says_something_else_than_was_signed_is_found(house, column):
    push_model(house)
    with house.stores.engine.begin() as connection:
        connection.execute(update(versions).values({column: "somebody"}))
    (problem,) = house.models.verify()["problems"]
    assert (problem.id, column in problem.evidence) == ("record-altered", True)


def test_who_pushed_is_what_was_signed_and_not_what_the_row_says(house):
    push_model(house, actor=ANA)
    ref = parse_ref("diagnosis@1")
    assert house.models.pusher(ref) == ANA.id
    with house.stores.engine.begin() as connection:
        connection.execute(update(versions).values(created_by=BEN.id))
    for act in (
        lambda: house.models.pusher(ref),
        lambda: house.models.approve(ref, Environment.PRODUCTION, actor=ANA, intent="evt_2"),
    ):
        with pytest.raises(VerificationError) as refused:
            act()
        assert refused.value.code == "record-altered"


def test_a_version_that_is_on_record_and_gone_is_found(house):
    push_model(house)
    push_model(house, 2.0, name="other")
    recorded = released_on_record(
        Event(id=f"out_{number}", at="", kind="outcome", action=action, outcome="done", facts={"answer": answer})
        for number, (action, answer) in enumerate(
            [
                ("model:push", {"verdict": "clean", "name": "diagnosis", "version": 1}),
                ("model:train", {"verdict": "clean", "name": "diagnosis", "version": 2}),
                ("model:train", {"verdict": "clean", "name": "other", "version": 2}),
                ("model:delete", {"name": "other", "version": 2, "state": "deleted"}),
                ("model:push", {"verdict": "refused", "name": "other", "version": None}),
                ("dataset:push", {"verdict": "clean", "name": "rows", "version": 1}),
            ]
        )
    )
    assert house.models.verify(recorded=recorded)["problems"][0].location == "model:diagnosis@2"
    with house.stores.engine.begin() as connection:
        connection.execute(update(versions).where(versions.c.name == "diagnosis").values(state="deleted"))
    report = house.models.verify(recorded=recorded)
    assert [(p.id, p.location) for p in report["problems"]] == [
        ("version-missing", "model:diagnosis@1"),
        ("version-missing", "model:diagnosis@2"),
    ]
    assert not report["ok"]


def test_a_missing_or_exchanged_blob_is_found(house):
    push_model(house)
    push_model(house, 2.0, intent="evt_2")
    ids = _blob_ids(house, "diagnosis")
    one, two = [p for p in house.blob_files() if p.name in ids]
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1]), two.write_bytes(data[0])
    assert len(house.models.verify()["problems"]) == 2
    one.write_bytes(data[0]), two.unlink()
    assert len(house.models.verify()["problems"]) == 1


def test_rows_that_point_to_another_versions_blob_are_found(house):
    push_model(house)
    push_model(house, 2.0, intent="evt_2")
    with house.stores.engine.begin() as c:
        (first, second) = [r.id for r in c.execute(select(versions).order_by(versions.c.number))]
        blob = c.execute(select(version_blobs.c.blob_id).where(version_blobs.c.version_id == first)).scalar()
        c.execute(update(version_blobs).where(version_blobs.c.version_id == second).values(blob_id=blob))
    refused("file-changed", house.models.load, parse_ref("diagnosis@2"))
    assert [p.location for p in house.models.verify()["problems"]] == ["model:diagnosis@2"]


def test_an_added_and_a_dropped_row_are_found(house):
    push_model(house)
    with house.stores.engine.begin() as c:
        version = c.execute(select(versions.c.id)).scalar()
        blob = c.execute(select(blobs.c.id)).scalar()
        c.execute(insert(version_blobs).values(version_id=version, path=".git/hook", blob_id=blob))
    refused("file-unexpected", house.models.load, parse_ref("diagnosis"))
    with house.stores.engine.begin() as c:
        c.execute(delete(version_blobs))
    refused("file-missing", house.models.load, parse_ref("diagnosis"))


@pytest.mark.parametrize(
    ("predicate", "code"),
    [
        (Predicate.FILES, "bundle-mismatch"),
        (Predicate.SCAN, "name-mismatch"),
        (Predicate.RELEASE, "name-mismatch"),
    ],
)
def test_signatures_swapped_between_versions_are_refused(house, predicate, code):
    one, two = push_model(house), push_model(house, 2.0, intent="evt_2")
    put_attestation(house, two.digest, predicate, attestation(house, one.digest, predicate))
    refused(code, house.models.load, parse_ref("diagnosis@2"))
    assert [p.id for p in house.models.verify()["problems"]] == [code]


def test_a_version_that_took_the_number_of_another_is_refused(house):
    push_model(house)
    with house.stores.engine.begin() as c:
        c.execute(update(versions).values(number=7))
    refused("manifest-changed", house.models.load, parse_ref("diagnosis@7"))


def test_an_altered_manifest_is_refused(house):
    push_model(house)
    with house.stores.engine.begin() as c:
        row = c.execute(select(versions)).one()
        context = manifest_context(row.project, row.kind, row.name, row.number)
        manifest = msgspec.json.decode(house.stores.cipher.open(row.manifest, context))
        manifest["signature"]["inputs"][0]["name"] = "Z"
        c.execute(update(versions).values(manifest=house.stores.cipher.seal(msgspec.json.encode(manifest), context)))
    refused("manifest-changed", house.models.load, parse_ref("diagnosis"))


def test_a_signer_no_longer_trusted_ends_its_versions(house):
    push_model(house)
    pem = house.stores.state.entries()[0].body["pem"]
    house.commit([("trust", {"pem": pem, "may_sign": [], "removed": True})], "evt_2")
    refused("signer-not-trusted", house.models.load, parse_ref("diagnosis"))


def test_a_revoked_version_is_not_loaded(house):
    push_model(house)
    house.deployments.revoke(parse_ref("diagnosis"), actor=ANA, intent="evt_2", reason="backdoor")
    refused("revoked", house.models.load, parse_ref("diagnosis"))
    assert house.models.show(parse_ref("diagnosis"))["revoked"] is True


@pytest.mark.parametrize("same", [True, False])
def test_pushes_at_once_get_numbers_of_their_own(house, same):
    results, start = [], threading.Barrier(4)

    def push(n):
        start.wait()
        results.append(push_model(house, 1.0 if same else float(n), intent=f"evt_{n}"))

    threads = [threading.Thread(target=push, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.version for r in results) == ([1, 1, 1, 1] if same else [1, 2, 3, 4])
    assert sum(r.created for r in results) == (1 if same else 4)
    assert len(house.blob_files()) == (1 if same else 4)
    assert house.models.verify()["ok"]


def test_deleting_destroys_the_keys_and_never_gives_the_number_again(house):
    push_model(house)
    house.models.delete(parse_ref("diagnosis@1"), intent="evt_2")
    assert house.blob_files() == []
    with house.stores.engine.begin() as c:
        assert c.execute(select(blobs)).all() == []
    with pytest.raises(NotFoundError):
        house.models.load(parse_ref("diagnosis@1"))
    assert took_effect(house.stores, "evt_2")
    assert push_model(house, intent="evt_3").version == 2
    assert house.models.verify()["ok"]


def test_took_effect_tells_what_a_crash_left(house):
    push_model(house, intent="evt_push")
    house.models.approve(parse_ref("diagnosis"), Environment.DEV, actor=ANA, intent="evt_approve")
    assert took_effect(house.stores, "evt_push")
    assert took_effect(house.stores, "evt_approve")
    assert not took_effect(house.stores, "evt_other")


def test_a_dataset_is_idempotent_and_comes_back(house):
    with table() as data:
        first = house.datasets.push("patients", data, actor=ANA, intent="evt_1")
        again = house.datasets.push("patients", data, actor=ANA, intent="evt_2")
        assert (first["version"], first["created"], again["version"], again["created"]) == (1, True, 1, False)
        assert again["digest"] == first["digest"]
        with house.datasets.open(parse_ref("patients")) as opened:
            assert opened.parquet.read() == data.parquet.read()
            assert opened.schema == data.schema
        size, _, chunks = house.datasets.export(parse_ref("patients@1"))
        rows = b"".join(chunks)
        assert (rows, size) == (data.parquet.read(), len(rows))
    assert house.datasets.show(parse_ref("patients"))["rows"] == 4
    assert [c["name"] for c in house.datasets.show(parse_ref("patients"))["columns"]] == ["radius", "area", "label"]
    assert house.datasets.verify() == {"ok": True, "checked": 1, "problems": []}
    with table(5) as data:
        assert house.datasets.push("patients", data, actor=ANA, intent="evt_3")["version"] == 2
    assert house.datasets.newest()[0]["versions"] == 2


def test_an_altered_dataset_is_named_and_not_exported(house):
    with table() as data:
        house.datasets.push("patients", data, actor=ANA, intent="evt_1")
    flip(max(house.blob_files(), key=lambda path: path.stat().st_size))
    (problem,) = house.datasets.verify()["problems"]
    assert problem.location == "dataset:patients@1"
    with pytest.raises(VerificationError):
        house.datasets.export(parse_ref("patients"))


def test_a_dataset_is_no_model_and_a_model_no_dataset(house):
    push_model(house)
    with pytest.raises(NotFoundError):
        house.datasets.find(parse_ref("diagnosis"))
    with house.stores.engine.begin() as c:
        c.execute(update(versions).values(kind=AssetKind.DATASET.value))
    refused("manifest-changed", house.datasets.open, parse_ref("diagnosis"))


def test_lineage_names_ranges_and_dependents(house):
    with table() as data:
        house.datasets.push("patients", data, actor=ANA, intent="evt_1")
    dataset = house.datasets.find(parse_ref("patients"))
    lineage = Lineage(
        dataset=dataset.about, script="sha256:" + "1" * 64, parameters={"C": 0.05}, environment="sha256:" + "2" * 64
    )
    push_model(house, lineage=lineage, intent="evt_2")
    with house.models.load(parse_ref("diagnosis")) as model:
        spec = model.signature.inputs[0]
        assert (spec.features, spec.low, spec.high) == (("radius", "area"), (0.0, 0.0), (4.5, 3.0))
        assert model.statements[Predicate.TRAINING].facts["parameters"] == {"C": 0.05}
    shown = house.models.show(parse_ref("diagnosis"))
    assert shown["served"] == {"path": "model.onnx", "runtime": "onnx"}
    assert shown["signature"]["inputs"][0] == {  # names of features, and no value of a row
        "name": "X",
        "datatype": "FP32",
        "shape": (-1, 2),
        "features": ("radius", "area"),
    }
    tree = house.models.lineage(parse_ref("diagnosis"))
    assert [(p["kind"], p.get("version")) for p in tree["from"]] == [
        ("dataset", 1),
        ("script", None),
        ("environment", None),
    ]
    assert house.datasets.show(parse_ref("patients"))["used_by"] == ["diagnosis@1"]
    gone = house.datasets.delete(parse_ref("patients"), intent="evt_3")
    assert gone["used_by"] == ["diagnosis@1"]
    assert house.models.lineage(parse_ref("diagnosis"))["from"][0]["state"] == "deleted"
    house.models.load(parse_ref("diagnosis")).close()
    with pytest.raises(NotFoundError):
        push_model(house, 3.0, lineage=lineage)


def test_a_model_of_another_width_gets_no_ranges(house):
    with table() as data:
        house.datasets.push("patients", data, actor=ANA, intent="evt_1")
    lineage = Lineage(dataset=house.datasets.find(parse_ref("patients")).about)
    wide = [("model.onnx", [model_bytes(width=3)])]
    house.models.push("wide", wide, Made(lineage=lineage), actor=ANA, intent="evt_2")
    with house.models.load(parse_ref("wide")) as model:
        assert model.signature.inputs[0] == TensorSpec(name="X", datatype="FP32", shape=(-1, 3))


def test_nothing_of_the_content_lies_open_in_the_home(house):
    with table() as data:
        house.datasets.push("patients", data, actor=ANA, intent="evt_1")
        rows = data.parquet.read()[4:40]
    push_model(house, 7.25, intent="evt_2")
    for path in house.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert rows not in content, path
            assert model_bytes(7.25)[:60] not in content, path


def test_the_stores_own_key_is_needed(house, tmp_path):
    """A blob store with other keys gives nothing."""
    push_model(house)
    init_keys(tmp_path / "others")
    foreign = BlobStore(
        house.folder / "blobs", house.folder / "tmp", house.folder / "lost", Keeper(tmp_path / "others")
    )
    with pytest.raises(VerificationError):
        Models(replace(house.stores, blobs=foreign)).load(parse_ref("diagnosis"))


def _blob_ids(house, name):
    with house.stores.engine.begin() as c:
        return set(
            c.execute(
                select(version_blobs.c.blob_id)
                .join(versions, versions.c.id == version_blobs.c.version_id)
                .where(versions.c.name == name)
            ).scalars()
        )


def test_a_schema_is_read_only_as_it_was_released(house):
    with table(4) as data:
        house.datasets.push("rows", data, actor=ANA, intent="evt_rows")
    version = house.datasets.find(parse_ref("rows@1"))
    assert [column["name"] for column in house.datasets.read_schema(version)["columns"]] == ["radius", "area", "label"]

    # Whoever holds the state's key but not the release key writes another manifest over the signed one.
    other = msgspec.structs.replace(version, manifest=version.manifest.replace(b'"rows":4', b'"rows":9'))
    assert other.manifest != version.manifest
    refused("manifest-changed", house.datasets.read_schema, other)

    with house.stores.engine.begin() as connection:
        released = attestations.c.predicate_type == Predicate.RELEASE.value
        connection.execute(delete(attestations).where(released, attestations.c.version_digest == version.digest))
    refused("signature-missing", house.datasets.read_schema, version)
    refused("signature-missing", push_model, house, 7.0, lineage=Lineage(dataset=version.about))


def test_a_list_and_a_look_at_one_say_which_rows_are_not_what_was_signed(house):
    push_model(house)
    push_model(house, 2.0, intent="evt_2")
    with table() as data:
        house.datasets.push("patients", data, actor=ANA, intent="evt_3")
    assert [row["verified"] for row in (*house.models.newest(), *house.datasets.newest())] == [True, True]
    with house.stores.engine.begin() as c:
        c.execute(update(versions).where(versions.c.kind == "model", versions.c.number == 1).values(number=99))
        c.execute(update(versions).where(versions.c.number == 2).values(created_by="usr_mallory"))
        c.execute(update(versions).where(versions.c.kind == "dataset").values(created_by="usr_mallory"))
    (model,), (dataset,) = house.models.newest(), house.datasets.newest()
    assert (model["version"], model["verified"]) == (99, False)
    assert dataset["verified"] is False
    refused("record-altered", house.datasets.show, parse_ref("patients"))
    shown = house.models.show(parse_ref(f"{model['name']}@2"))
    assert (shown["created_by"], shown["verified"]) == ("usr_mallory", False)
    assert (house.models.count(), house.datasets.count()) == (1, 1)
