"""Provenance from outside: what is believed, and every forgery of it, each refused with a code of its own."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import msgspec
import pytest
from certificate_makers import issue, revoke
from cryptography.hazmat.primitives.serialization import Encoding
from outside_trainer import BUILDER, LOCK, SCRIPT, Trainer, altered, training
from registry_house import ANA, BEN, model_bytes, push_model, table
from sqlalchemy import text

from casemate.core import CasemateError, Environment, InputError, canonical, digest_of, parse_ref
from casemate.registry import Brought, Lineage, Signers, took_effect
from casemate.registry.model_push import Eyes
from casemate.registry.signers import SignerRequest
from casemate.signing import OwnKey
from casemate.signing.provenance import PROVENANCE, provenance_statement

REF = parse_ref("diagnosis@1")


def refused(code, call, *args, **kwargs):
    with pytest.raises(CasemateError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code, caught.value.message
    return caught.value.message


def trust(house, name="ci", *, days=30, **how):
    how.setdefault("models", ("diagnosis",))
    signers = Signers(house.stores, house.pen)
    return signers.add(name, SignerRequest(**how), life=timedelta(days=days), actor=ANA, intent=f"evt_s_{name}")


def remove(house, name="ci", *, cascade=False):
    return house.deployments.end_signer(name, actor=ANA, intent="evt_x", reason="left", cascade=cascade)


def files(slope=1.0):
    return {"model.onnx": model_bytes(slope)}


def push(house, data, *, slope=1.0, name="diagnosis", linked=True, **more):
    lineage = Lineage(dataset=house.about) if linked else None
    return push_model(house, slope, name=name, lineage=lineage, brought=Brought(data=data, **more))


@pytest.fixture
def trainer():
    return Trainer()


@pytest.fixture
def at(house):
    house.datasets.push("visits", table(4), actor=ANA, intent="evt_d")
    house.about = house.datasets.find(parse_ref("visits")).about
    return house.clock.now()


@pytest.fixture
def said(house, trainer, at):
    trust(house, key=trainer.pem)
    return trainer.says(files(), house.about.digest, at=at)


# What is believed --------------------------------------------------------------------------------------------------------


def test_a_version_rests_on_what_a_trusted_trainer_signed(house, trainer, said):
    pushed = push(house, said, script=digest_of(SCRIPT), environment=digest_of(LOCK))
    assert (pushed.verdict, pushed.version) == ("clean", 1)
    shown = house.models.show(REF)["provenance"]
    assert (shown["witness"], shown["signed_by"]) == ("outside", trainer.key.keyid)
    tree = house.models.lineage(REF)["from"]
    assert [one["kind"] for one in tree] == [
        "dataset", "outside training", "stated script", "stated environment", "stated dataset",
    ]  # fmt: skip
    outside = tree[1]
    assert outside["by"] == "eve@example.com"
    assert (outside["builder"], outside["seeds"], outside["parameters"]) == (BUILDER, {"numpy": 7}, {"depth": 3})
    house.models.load(REF).close()
    assert house.models.verify()["ok"]
    assert push(house, said).created is False  # the same push again is the same version


def test_the_card_and_the_bill_show_it(house, trainer, said):
    push(house, said)
    card = house.models.card(REF)
    assert card["provenance"]["text"].startswith("Trained elsewhere, as ci signed")
    bom = house.models.bom(REF)["bom"]
    told = {one["name"]: one["value"] for one in bom["metadata"]["component"]["properties"]}
    assert (told["casemate:training_seen_by"], told["casemate:outside_signer"]) == ("outside", "ci")
    assert {one["name"] for one in bom["components"]} == {"visits", "visits@1", "training script", "lock file"}


def test_without_provenance_nobody_saw_the_training(house, at):
    push_model(house)
    assert house.models.show(REF)["provenance"] == {"witness": "nobody", "text": "Nobody saw its training."}


def test_rows_are_known_by_the_file_that_was_pulled_too(house, trainer, at):
    trust(house, key=trainer.pem)
    rows = house.datasets.export(parse_ref("visits@1"))
    assert push(house, trainer.says(files(), rows.digest, at=at)).version == 1


def test_a_bare_envelope_and_the_repository_of_a_forge(house, trainer, at):
    trust(house, key=trainer.pem)
    statement = json.loads(provenance_statement(training(files(), house.about.digest, at=at)))
    definition = statement["predicate"]["buildDefinition"]
    definition["resolvedDependencies"] = [
        {"uri": "git+https://forge.example/team/model@refs/heads/main", "digest": {"gitCommit": "a" * 40}},
        {"uri": "data", "digest": {"sha256": house.about.digest.removeprefix("sha256:")}},
    ]
    envelope = canonical(trainer.key.sign(canonical(statement)))
    assert push(house, envelope).version == 1
    assert house.models.lineage(REF)["from"][2]["kind"] == "stated repository"


def test_a_certificate_that_bears_the_name(house, at):
    trainer, pem = certified(house, at)
    trust(house, roots=pem, identity="CN=trainer")
    assert push(house, trainer.says(files(), house.about.digest, at=at)).version == 1
    assert house.models.show(REF)["provenance"]["signed_by"] == "CN=trainer"


def test_a_key_that_is_added_again_counts_again(house, trainer, said):
    remove(house)
    trust(house, key=trainer.pem)
    assert push(house, said).version == 1


# Forgeries ----------------------------------------------------------------------------------------------------------------


def test_a_changed_dataset(house, trainer, at):
    trust(house, key=trainer.pem)
    refused("provenance-dataset", push, house, trainer.says(files(), digest_of(b"other rows"), at=at))
    refused("provenance-dataset", push, house, trainer.says(files(), None, at=at))
    house.datasets.push("visits", table(5), actor=ANA, intent="evt_d2")
    said = trainer.says(files(), house.about.digest, at=at)
    house.about = house.datasets.find(parse_ref("visits@2")).about
    refused("provenance-dataset", push, house, said)
    assert house.models.count() == 0


def test_a_changed_script_and_a_changed_environment(house, trainer, said):
    refused("provenance-script", push, house, said, script=digest_of(SCRIPT + b"#"))
    refused("provenance-environment", push, house, said, environment=digest_of(LOCK + b"#"))


def test_a_signer_may_be_trusted_for_one_script_and_one_environment(house, trainer, at):
    data = trainer.says(files(), house.about.digest, at=at)
    trust(house, "a", key=trainer.pem, scripts=(digest_of(b"x"),))
    refused("provenance-script", push, house, data)
    remove(house, "a")
    trust(house, "b", key=trainer.pem, environments=(digest_of(b"x"),))
    refused("provenance-environment", push, house, data)
    remove(house, "b")
    trust(house, "c", key=trainer.pem, builders=("https://another.example",))
    refused("builder-not-trusted", push, house, data)
    remove(house, "c")
    trust(house, "d", key=trainer.pem, builders=(BUILDER,), scripts=(digest_of(SCRIPT),), models=("*",))
    assert push(house, data).version == 1


def test_the_attestation_of_another_model(house, trainer, at):
    trust(house, key=trainer.pem, models=("*",))
    refused("provenance-other-model", push, house, trainer.says(files(2.0), house.about.digest, at=at))
    more = trainer.says(files() | {"extra.txt": b"x"}, house.about.digest, at=at)
    refused("provenance-other-model", push, house, more)
    named = trainer.says(files(), house.about.digest, at=at, model="diagnosis")
    refused("provenance-other-model", push, house, named, name="risk")
    assert push(house, named).version == 1


def test_a_replayed_attestation(house, trainer, at):
    trust(house, key=trainer.pem, models=("*",))
    data = trainer.says(files(), house.about.digest, at=at)
    push(house, data)
    refused("provenance-replayed", push, house, data, name="risk")
    refused("provenance-replayed", push, house, data, linked=False)  # the same files as another version
    house.models.delete(REF, intent="evt_del")
    refused("provenance-replayed", push, house, data, name="risk")  # nor once the version is gone


def test_an_older_attestation_does_not_bring_an_older_model_back(house, trainer, at):
    trust(house, key=trainer.pem, models=("*",))
    older = trainer.says(files(), house.about.digest, at=at - timedelta(days=1))
    push(house, trainer.says(files(2.0), house.about.digest, at=at), slope=2.0)
    refused("provenance-older", push, house, older)
    assert push(house, older, name="risk").version == 1


def test_a_key_that_nobody_trusts(house, said, at):
    refused("signer-not-trusted", push, house, Trainer().says(files(), house.about.digest, at=at))


def test_a_key_that_is_trusted_for_another_model_or_no_longer(house, trainer, at):
    data = trainer.says(files(), house.about.digest, at=at)
    trust(house, "a", key=trainer.pem, models=("risk",))
    refused("signer-not-for-model", push, house, data)
    remove(house, "a")
    trust(house, "b", key=trainer.pem, days=1)
    house.clock.at += timedelta(days=2)
    refused("signer-expired", push, house, data)


def test_a_signer_that_was_removed(house, trainer, said):
    remove(house)
    refused("signer-removed", push, house, said)


def test_a_signer_that_is_removed_while_a_push_is_under_way(house, said, monkeypatch):
    examine = Eyes.examine

    def slow(self, sealed):
        remove(house)
        return examine(self, sealed)

    monkeypatch.setattr(Eyes, "examine", slow)
    refused("signer-removed", push, house, said)
    assert house.models.count() == 0


def test_a_stripped_signature(house, said):
    bundle = json.loads(said)
    statement = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    refused("provenance-unsigned", push, house, statement)
    bundle["dsseEnvelope"]["signatures"] = []
    refused("signature-malformed", push, house, canonical(bundle))


@pytest.mark.parametrize("old", [b'"depth":3', b"eve@example.com", b"train.py"])
def test_an_altered_payload(house, said, old):
    refused("signature-invalid", push, house, altered(said, old, old[:-1] + b"4"))


def test_another_predicate(house, trainer, at, said):
    statement = json.loads(provenance_statement(training(files(), house.about.digest, at=at)))
    for other in ("https://slsa.dev/provenance/v0.2", "https://casemate.dev/training/v1"):
        data = trainer.sign(canonical(statement | {"predicateType": other}), now=at)
        refused("predicate-mismatch", push, house, data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said.pop("subject"),
        lambda said: said["subject"].append(said["subject"][0]),
        lambda said: said["subject"][0]["digest"].update(sha256="a" * 63),
        lambda said: said["subject"][0].update(digest={"sha512": "a" * 128}),
        lambda said: said["subject"][0].update(name="../model.onnx"),
        lambda said: said["predicate"]["runDetails"]["builder"].update(id=""),
        lambda said: said["predicate"]["runDetails"]["builder"].update(id="a\x1b[2J"),
        lambda said: said["predicate"]["buildDefinition"]["externalParameters"].update(seeds={"a": "b"}),
        lambda said: said["predicate"]["buildDefinition"]["externalParameters"].update(parameters="x" * 100_001),
        lambda said: said["predicate"]["runDetails"]["metadata"].update(finishedOn="yesterday"),
        lambda said: said["predicate"]["runDetails"]["metadata"].update(finishedOn="2026-11-24T12:00:00"),
    ],
)
def test_a_statement_that_cannot_be_read(house, trainer, at, said, spoil):
    statement = json.loads(provenance_statement(training(files(), house.about.digest, at=at)))
    spoil(statement)
    refused("provenance-malformed", push, house, trainer.sign(canonical(statement), now=at))


def test_a_training_that_says_too_little_or_ended_before_it_began(house, trainer, at, said):
    def bundle(**other):
        return trainer.says(files(), house.about.digest, at=at, **other)

    refused("provenance-incomplete", push, house, bundle(finished="", started=""))
    refused("provenance-incomplete", push, house, bundle(dependencies=()))
    later = (at + timedelta(hours=1)).isoformat()
    refused("provenance-time", push, house, bundle(finished=later))
    refused("provenance-time", push, house, bundle(started=later))


def certified(house, at, *, days=30, name="trainer"):
    root = issue("root", start=at - timedelta(days=400), end=at + timedelta(days=400), ca=True)
    leaf = issue(name, root, start=at - timedelta(days=60), end=at + timedelta(days=days))
    trainer = Trainer(key=OwnKey(leaf.key), chain=(leaf.certificate,))
    house.root, house.leaf = root, leaf
    return trainer, root.pem.decode()


def test_an_expired_certificate(house, at):
    trainer, pem = certified(house, at, days=1)
    trust(house, roots=pem, identity="CN=trainer")
    data = trainer.says(files(), house.about.digest, at=at)
    house.clock.at += timedelta(days=2)
    refused("certificate-expired", push, house, data)


def test_a_revoked_certificate_and_a_list_that_is_too_old(house, at):
    trainer, pem = certified(house, at)
    data = trainer.says(files(), house.about.digest, at=at)
    for name, serials, code in (
        ("bad", [house.leaf.certificate.serial_number], "certificate-revoked"),
        ("old", [], "revocation-unknown"),
    ):
        until = at + timedelta(days=10) if serials else at - timedelta(hours=1)
        crl = revoke(house.root, *serials, at=at - timedelta(days=2), until=until).public_bytes(Encoding.PEM).decode()
        trust(house, name, roots=pem, identity="CN=trainer", revoked=(crl,))
        refused(code, push, house, data)
        remove(house, name)


def test_a_certificate_of_somebody_else_under_the_same_root(house, at):
    trainer, pem = certified(house, at, name="intern")
    trust(house, roots=pem, identity="CN=trainer")
    refused("signer-not-trusted", push, house, trainer.says(files(), house.about.digest, at=at))


# What is stored -----------------------------------------------------------------------------------------------------------


def attestation(house, predicate, statement, **values):
    with house.stores.engine.begin() as connection:
        connection.execute(
            text(f"{statement} WHERE predicate_type = :p AND version_digest = :d"),
            {"p": predicate, "d": house.models.find(REF).digest, **values},
        )


def test_stored_provenance_that_was_altered_or_removed_loads_no_more(house, trainer, said):
    push(house, said)
    house.models.approve(REF, Environment.DEV, actor=BEN, intent="evt_a")
    attestation(house, PROVENANCE, "UPDATE attestations SET envelope = :e", e=said.replace(b"v0.3", b"v0.2"))
    refused("provenance-altered", house.models.load, REF)
    refused("provenance-altered", house.deployments.deploy, "live", REF, actor=ANA, intent="evt_dep")
    assert [one.id for one in house.models.verify()["problems"]] == ["provenance-altered"]
    attestation(house, PROVENANCE, "DELETE FROM attestations")
    refused("provenance-missing", house.models.load, REF)


def test_the_statement_of_another_version_in_its_place(house, trainer, said):
    push(house, said)
    other = trainer.says(files(), house.about.digest, at=house.clock.now(), seeds={"numpy": 8})
    attestation(house, PROVENANCE, "UPDATE attestations SET envelope = :e", e=other)
    refused("provenance-altered", house.models.load, REF)


# Trust --------------------------------------------------------------------------------------------------------------------


def test_whoever_is_removed_leaves_what_was_pushed_unless_it_ends_with_them(house, trainer, said):
    push(house, said)
    house.models.approve(REF, Environment.DEV, actor=BEN, intent="evt_a")
    house.deployments.deploy("live", REF, actor=ANA, intent="evt_dep")
    told = remove(house)
    assert (told["paused"], [one["name"] for one in told["descendants"]]) == ([], ["diagnosis"])
    house.models.load(REF).close()
    trust(house, "again", key=trainer.pem)
    later = trainer.says(files(2.0), house.about.digest, at=house.clock.now())
    push(house, later, slope=2.0)
    house.models.approve(parse_ref("diagnosis@2"), Environment.DEV, actor=BEN, intent="evt_a2")
    house.deployments.deploy("live", parse_ref("diagnosis@2"), actor=ANA, intent="evt_dep2")
    told = remove(house, "again", cascade=True)
    assert told["paused"] == ["live"]
    refused("revoked", house.models.load, parse_ref("diagnosis@2"))
    house.models.load(REF).close()  # it rests on the word of the first record, which ended without it
    house.deployments.rollback("live", actor=ANA, intent="evt_rb")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"key": "x", "roots": "y", "identity": "z"},
        {"roots": "y"},
        {"identity": "z"},
        {"key": "no pem"},
        {"roots": "no pem", "identity": "z"},
        {"key": "PEM", "models": ()},
        {"key": "PEM", "models": ("No Name",)},
        {"key": "PEM", "scripts": ("sha256:1",)},
        {"key": "PEM", "trusted_root": "{}"},
        {"identity": "a", "issuer": "b", "trusted_root": "{}"},
        {"key": "PEM", "builders": ("a\x1b",)},
    ],
)
def test_a_signer_that_cannot_be_trusted(house, trainer, how):
    if how.get("key") == "PEM":
        how = how | {"key": trainer.pem}
    with pytest.raises(InputError):
        trust(house, **how)
    assert Signers(house.stores).all() == []


def test_trust_ends_within_a_year_and_a_name_is_one_signer(house, trainer):
    for days in (0, 367):
        refused("bad-expiry", trust, house, key=trainer.pem, days=days)
    made = trust(house, key=trainer.pem)
    assert (made["state"], made["who"], made["method"]) == ("trusted", trainer.key.keyid, "key")
    refused("signer-exists", trust, house, key=trainer.pem)
    refused("not-found", remove, house, "other")
    house.clock.at += timedelta(days=31)
    assert Signers(house.stores).all()[0]["state"] == "expired"


def test_a_signer_that_was_slipped_into_the_database_is_none(house, trainer, at):
    trust(house, key=Trainer().pem)
    with house.stores.engine.begin() as connection:
        connection.execute(text("UPDATE ledger SET body = :b WHERE kind = 'signer'"), {"b": b"{}"})
    house.stores.state._read.clear()
    refused("state-altered", push, house, trainer.says(files(), house.about.digest, at=at))


def test_a_statement_that_is_used_is_no_version_yet(house, trainer, said, monkeypatch):
    """A crash between both leaves the statement used for this content: the push again goes through, another does not."""
    from casemate.registry import model_push

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model_push, "commit_version", crash)
        push(house, said)
    assert took_effect(house.stores, "evt_1") is False
    refused("provenance-replayed", push, house, said, linked=False)
    assert push(house, said).version == 1


def test_the_envelope_is_the_only_thing_that_msgspec_reads_as_signed(house, trainer, said):
    read = msgspec.json.decode(said)
    read["dsseEnvelope"]["payloadType"] = "application/json"
    refused("signature-malformed", push, house, canonical(read))
    refused("signature-malformed", push, house, b"\x00")
