"""What people say of a model version, beside what is signed; and the bill of materials, held against CycloneDX's own schema."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema_rs
import pytest
from registry_house import ANA, BEN, push_model, table

from casemate.core import InputError, VerificationError, parse_ref
from casemate.registry import Lineage, checked_description
from casemate.registry.bom import BOM_PREDICATE
from casemate.signing import decode_envelope, open_envelope

REF = parse_ref("diagnosis@1")
WHOLE = {
    "intended_use": "Sorts scans for a doctor.",
    "out_of_scope": "Deciding alone.",
    "users": "Radiologists",
    "owner": "Team Imaging",
    "licence": "Apache-2.0",
    "limits": "Seen no scans of children.",
    "ethics": "Fewer women in the data.",
    "metrics": [{"name": "accuracy", "value": 0.97, "on": "held back", "slice": "over 65"}],
}
ENVIRONMENT = {"python": "3.11.7", "platform": "linux-x86_64", "casemate": "0.1.0", "packages": {"Num_py": "2.3.0"}}


@pytest.fixture
def trained(house):
    house.datasets.push("visits", table(4), actor=ANA, intent="evt_d")
    about = house.datasets.find(parse_ref("visits")).about
    lineage = Lineage(dataset=about, script="sha256:" + "a" * 64, environment="sha256:" + "b" * 64)
    push_model(house, lineage=lineage, environment=ENVIRONMENT)
    return house


def describe(house, said, *, actor=BEN, ref=REF):
    return house.models.write_card(ref, checked_description(said), actor=actor, intent="evt_c")


def validator():
    folder = files("cyclonedx.schema._res")
    named = {name: json.loads(folder.joinpath(f"{name}.SNAPSHOT.schema.json").read_text()) for name in
             ("bom-1.6", "spdx", "jsf-0.82")}  # fmt: skip
    resources = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", named[name]) for name in ("spdx", "jsf-0.82")
    ]
    registry = jsonschema_rs.Registry(resources)
    return jsonschema_rs.validator_for(named["bom-1.6"], registry=registry, validate_formats=True)


def test_what_nobody_said_is_named_as_missing(trained):
    card = trained.models.card(REF)
    assert (card["complete"], card["missing"]) == (False, ["intended_use", "owner", "licence", "limits", "metrics"])
    assert trained.models.is_described(REF) is False
    assert (card["pushed_by"], card["scan"]["verdict"], card["revoked"]) == (ANA.id, "clean", False)
    assert [one["kind"] for one in card["made_from"]] == ["dataset", "script", "environment"]
    assert card["environment"] == ENVIRONMENT
    assert card["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]  # no range: it is of the rows


def test_the_last_word_counts_and_says_who_said_it(trained):
    assert describe(trained, {**WHOLE, "owner": ""})["missing"] == ["owner"]
    assert describe(trained, WHOLE)["missing"] == []
    card = trained.models.card(REF)
    assert (card["complete"], card["described_by"]) == (True, BEN.id)
    assert json.loads(json.dumps(card["described"])) == WHOLE
    push_model(trained, 2.0)
    assert trained.models.is_described(parse_ref("diagnosis@2")) is False  # each version is described anew
    describe(trained, {})
    assert trained.models.is_described(REF) is False


def test_a_card_that_was_slipped_into_the_database_is_no_card(trained):
    from sqlalchemy import text

    describe(trained, {**WHOLE, "limits": "x" * 40})
    with trained.stores.engine.begin() as connection:
        connection.execute(text("UPDATE ledger SET body = :b WHERE kind = 'card'"), {"b": b"{}"})
    with pytest.raises(VerificationError):
        trained.models.card(REF)


@pytest.mark.parametrize(
    "said",
    [
        {"owners": "x"},
        {"owner": 3},
        {"owner": "x" * 201},
        {"limits": "x" * 4001},
        {"limits": "a\x1b[2Jb"},
        {"limits": "a\u202eb"},
        {"metrics": [{"name": "", "value": 1.0}]},
        {"metrics": [{"name": "a", "value": "high"}]},
        {"metrics": [{"name": "a", "value": 1.0}] * 101},
        {"metrics": [{"name": "a", "value": float("nan")}]},
        {"metrics": [{"name": "a\x00", "value": 1.0}]},
        [],
        "card",
        None,
    ],
)
def test_what_is_no_card_gets_one_sentence(said):
    with pytest.raises(InputError, match=r"^[^\n]+$") as caught:
        checked_description(said)
    assert caught.value.code == "bad-card"


@pytest.mark.parametrize("said", [WHOLE, {}, {"metrics": [{"name": "loss", "value": -1e-9}]}, {"out_of_scope": "x"}])
def test_the_bill_of_materials_keeps_the_schema(trained, said):
    describe(trained, said)
    bom = trained.models.bom(REF)["bom"]
    validator().validate(bom)
    with pytest.raises(jsonschema_rs.ValidationError):
        validator().validate(bom | {"metadata": {"component": {"type": "brain", "name": "x"}}})
    component = bom["metadata"]["component"]
    assert (component["type"], component["version"]) == ("machine-learning-model", "1")
    kinds = {one["type"]: one for one in bom["components"]}
    assert kinds["data"]["name"] == "visits"
    assert kinds["library"]["purl"] == "pkg:pypi/num-py@2.3.0"
    references = {one["bom-ref"] for one in (component, *bom["components"])}
    assert {one["ref"] for one in bom["dependencies"]} == references


def test_a_model_that_was_brought_has_one_too(house):
    push_model(house)
    bom = house.models.bom(REF)["bom"]
    validator().validate(bom)
    assert bom["components"] == []


def test_a_signed_one_is_about_this_very_version(trained):
    made = trained.models.bom(REF, signed=True)
    envelope = decode_envelope(made["envelope"].encode())
    keyid = envelope.signatures[0].keyid
    key = trained.stores.trust()._keys[keyid].public
    said = json.loads(open_envelope(envelope, key))
    version = trained.models.find(REF)
    assert said["predicateType"] == BOM_PREDICATE
    assert said["subject"] == [{"name": "diagnosis@1", "digest": {"sha256": version.digest.removeprefix("sha256:")}}]
    assert said["predicate"] == made["bom"]
