"""What another system claims of a training: read strictly, kept, shown as a claim."""

from __future__ import annotations

import json

import pytest
from registry_house import push_model

from casemate.core import InputError, parse_ref
from casemate.registry import Lineage, read_claims

SAID = {
    "system": "mlflow",
    "server": "https://mlflow.example",
    "run": "r1",
    "commit": "a" * 40,
    "parameters": {"depth": "3"},
    "metrics": {"auc": 0.9},
    "datasets": [{"name": "visits", "digest": "1a2b"}],
}


def read(**other):
    return read_claims(json.dumps(SAID | other).encode())


@pytest.mark.parametrize(
    "other",
    [
        {"system": "another"},
        {"server": "x" * 1001},
        {"server": "a\x1b[2J"},
        {"metrics": {"auc": "high"}},
        {"metrics": {"a\u202e": 1.0}},
        {"metrics": {str(n): 1.0 for n in range(1001)}},
        {"parameters": {"depth": 3}},
        {"datasets": [{}]},
        {"datasets": [{"name": "a\n"}]},
        {"attested": True},
    ],
)
def test_claims_that_are_none(other):
    with pytest.raises(InputError) as caught:
        read(**other)
    assert caught.value.code == "bad-claims"


@pytest.mark.only("sqlite")
def test_a_claim_is_shown_as_one(house):
    push_model(house, lineage=Lineage(claimed=read()))
    ref = parse_ref("diagnosis@1")
    assert house.models.show(ref)["provenance"] == {
        "witness": "claimed",
        "text": "Claimed by MLflow (run r1), attested by nobody.",
    }
    run, rows = house.models.lineage(ref)["from"]
    assert (run["kind"], run["digest"], run["metrics"]) == ("claimed training", "gitCommit:" + "a" * 40, {"auc": 0.9})
    assert (rows["kind"], rows["name"]) == ("claimed dataset", "visits")
    bom = house.models.bom(ref)["bom"]
    told = {one["name"]: one["value"] for one in bom["metadata"]["component"]["properties"]}
    assert told["casemate:training_seen_by"] == "claimed"
    assert bom["components"] == []  # nothing that a digest of ours would bind
    house.models.load(ref).close()
