"""A refused pickle is converted by the home: over HTTP, in the real sandbox, with a signed statement of what was done."""

from __future__ import annotations

import asyncio
import json
import pickle  # noqa: TID251 writes pickles of our own making; loads none
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from opcodes import MARKER, call, import_4, proto, text
from pickled_models import HOLDS, LIE, TELLS, pickled, with_code
from test_door import call as asked

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import CasemateError, NotFoundError, digest_of
from casemate.settings import Settings
from casemate.storage import open_home

MALICIOUS = proto() + call(import_4("posix", "system"), text(f"touch {MARKER}")) + b"."


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickled())
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n" + "".join(f"{i / 10},{i % 7},{-i / 20}\n" for i in range(40)))
    return path


@pytest.fixture
def pending(settings: Settings) -> Path:
    """Where uploads and unfinished blobs lie."""
    return open_home(settings.home).tmp


@pytest.fixture
def nothing_left(pending: Path) -> Any:
    """Whatever a refused conversion had of the pickle is gone from the disk after the test."""
    yield
    assert list(pending.iterdir()) == []
    assert not Path(MARKER).exists()


def typed(settings: Settings, *words: object) -> Result:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return CliRunner().invoke(cli, [*map(str, words)], env=environment)


def newest(casemate: Casemate) -> dict[str, Any]:
    return casemate.audit_entries(action="model:convert", kind="outcome", limit=1)[0]


def refused(code: str, casemate: Casemate, name: str, path: Path, **more: Any) -> CasemateError:
    with pytest.raises(CasemateError) as caught:
        casemate.conversions.make(name, path, **{"to": "skops", **more})
    assert caught.value.code == code, caught.value.message
    with pytest.raises(NotFoundError):
        casemate.model(name)
    return caught.value


def test_from_a_refused_pickle_to_a_version_that_serves(
    casemate: Casemate, settings: Settings, model: Path, rows: Path, nothing_left: Any
) -> None:
    assert casemate.push_model("wished", model)["verdict"] == "refused"
    done = typed(
        settings,
        "model",
        "convert",
        model,
        "--to",
        "onnx",
        "--push",
        "wished",
        "--sample",
        rows,
        "--reason",
        "old",
        "--json",
    )
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["verdict"], made["name"], made["version"], made["created"]) == ("clean", "wished", 1, True)
    assert not (model.parent / "model").exists(), "nothing is written on this side"
    said = casemate.model("wished@1")
    shown = said["conversion"]
    assert shown == {"attested": True, **made["conversion"]}
    assert shown["source"]["digest"] == digest_of(model.read_bytes())
    assert shown["source"]["findings"] == ["pickle-not-served"]
    assert shown["result"]["digest"] == said["files"]["model.onnx"]["digest"]
    assert set(said["files"]) == {"model.onnx"}, "the pickle is not kept"
    assert (shown["sample"]["origin"], shown["sample"]["rows"]) == ("given", 40)
    assert shown["compared"]["max_difference"] < 1e-4
    assert shown["compared"]["tolerance"] == {"difference": 0.001, "labels": 0.01}
    assert {"scikit-learn", "skl2onnx", "onnxruntime"} <= set(shown["libraries"])
    assert shown["by"] == said["created_by"]
    assert shown["began"] < shown["ended"]
    assert casemate.verify_models("wished@1")["ok"]
    (origin,) = casemate.lineage("wished@1")["from"]
    assert (origin["kind"], origin["name"], origin["digest"]) == (
        "converted file",
        "model.pkl",
        shown["source"]["digest"],
    )
    assert casemate.cards.show("wished@1")["conversion"]["source"] == shown["source"]
    page = typed(settings, "model", "card", "wished@1")
    assert "here, from model.pkl" in page.stdout
    entry = newest(casemate)
    assert entry["facts"]["source"] == shown["source"]["digest"]
    assert entry["facts"]["answer"]["version"] == 1
    casemate.approve("wished@1", reason="as the pickle was")
    assert casemate.deploy("wished-live", "wished@1")["name"] == "wished-live"
    assert casemate.verify_models()["ok"], "what was converted is among what the log saw come"
    again = casemate.conversions.make("wished", model, to="onnx", sample=rows)
    assert (again["version"], again["created"]) == (1, False)


@pytest.mark.parametrize("named", ["dataset", "sample_dataset"])
def test_what_comes_while_the_pickle_is_sent_is_not_what_was_decided_on(
    app: Any, casemate: Casemate, tmp_path: Path, named: str
) -> None:
    """`latest`, allowed as internal, has become a version of health data by the time the last byte is there."""
    name, path = f"slow-{named.replace('_', '-')}", tmp_path / "rows.csv"
    path.write_text("a,b,c\n" + "".join(f"{i / 10},{i % 7},{-i / 20}\n" for i in range(60)))
    casemate.push_dataset(name, path)
    key = casemate.issue_key(name, role="data-scientist", expires="1h")["key"]

    def newer() -> None:
        assert casemate.audit_entries(action="model:convert", kind="intent", limit=1)[0]["resource"].endswith(name)
        path.write_text(path.read_text() + "9,9,9\n")
        casemate.push_dataset(name, path, data_class="health")

    async def body() -> AsyncIterator[bytes]:
        await asyncio.to_thread(newer)
        yield pickled()

    query, headers = {"to": "skops", named: name}, {"Authorization": f"Bearer {key}"}
    made = asked(app, "POST", f"/api/v1/models/{name}/conversions", headers=headers, params=query, content=body())
    assert made.json().get("version") == 1, made.text
    shown, facts = casemate.model(f"{name}@1"), newest(casemate)["facts"]
    said = "dataset" if named == "dataset" else "sample"
    assert (facts[said], facts[f"{said}_digest"]) == (f"{name}@1", casemate.dataset(f"{name}@1")["digest"])
    if named == "dataset":
        assert shown["data_class"] == "internal"
    else:
        assert shown["conversion"]["sample"]["dataset"]["number"] == 1


def test_a_dataset_that_comes_while_the_pickle_is_sent_is_not_used(
    app: Any, casemate: Casemate, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n1,2,3\n")

    async def body() -> AsyncIterator[bytes]:
        await asyncio.to_thread(lambda: casemate.push_dataset("late", path, data_class="health"))
        yield pickled()

    headers = {"Authorization": f"Bearer {casemate.issue_key('late', role='data-scientist', expires='1h')['key']}"}
    query = {"to": "skops", "dataset": "late"}
    told = asked(app, "POST", "/api/v1/models/late/conversions", headers=headers, params=query, content=body())
    assert told.json()["code"] == "not-found"
    with pytest.raises(NotFoundError):
        casemate.model("late")


def test_rows_of_a_dataset_are_named_and_told_to_nobody(casemate: Casemate, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c,ill\n" + "".join(f"{i / 10},{i % 7},{-i / 20},{i % 2}\n" for i in range(60)))
    casemate.push_dataset("visits", path, target="ill", data_class="personal")
    made = casemate.conversions.make("from-rows", model, to="skops", dataset="visits", sample_dataset="visits@1")
    sample = casemate.model("from-rows@1")["conversion"]["sample"]
    assert (sample["origin"], sample["rows"]) == ("dataset", 60)
    assert (sample["dataset"]["name"], sample["dataset"]["number"]) == ("visits", 1)
    assert "digest" not in sample, "a digest of few rows can be guessed at"
    assert casemate.model("from-rows@1")["data_class"] == "personal"
    assert {"visits", "model.pkl"} == {one["name"] for one in casemate.lineage("from-rows@1")["from"]}
    assert made["conversion"]["sample"] == sample
    screened = casemate.audit_entries(action="dataset:screen", kind="decision", limit=1)[0]
    assert screened["resource"].endswith("visits"), "the gate was asked about its rows"
    path.write_text("a,b,text\n" + "1,2,x\n" * 5)
    casemate.push_dataset("words", path)
    assert "is no number" in refused("convert-sample", casemate, "of-words", model, sample_dataset="words").message
    assert refused("not-found", casemate, "of-none", model, sample_dataset="nowhere").code == "not-found"
    casemate.versions.revoke("visits@1", reason="copied from elsewhere")
    refused("revoked", casemate, "of-revoked", model, sample_dataset="visits@1")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (MALICIOUS, "convert-attempt"),
        (with_code(LIE), "convert-differs"),
        (with_code(HOLDS), "convert-attempt"),
        (with_code(TELLS), "convert-sample"),
    ],
    ids=["starts a program", "lies about its predictions", "holds its export", "tells rows in its error"],
)
def test_a_hostile_pickle_leaves_no_version(
    casemate: Casemate, tmp_path: Path, rows: Path, *, nothing_left: Any, data: bytes, code: str
) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(data)
    assert "--despite-findings" in refused("convert-flagged", casemate, "evil", path).message
    assert newest(casemate)["facts"]["source"] == digest_of(data), "what was refused is on record"
    refused(code, casemate, "evil", path, sample=rows, despite_findings=True, reason="a friend's")
    entry = newest(casemate)
    assert (entry["outcome"], entry["facts"]["error"], entry["facts"]["source"]) == ("failed", code, digest_of(data))


def test_who_may_have_a_suspect_pickle_loaded(app: Any, casemate: Casemate, tmp_path: Path) -> None:
    """It is the owner's to order, with a reason; what the scan held against it stands in what is signed."""
    data = with_code("pass")
    (tmp_path / "odd.pkl").write_bytes(data)
    keys = {
        role: casemate.issue_key(f"odd-{role}", role=role, expires="1h")["key"] for role in ("data-scientist", "owner")
    }

    def sent(role: str, **query: str) -> Any:
        headers = {"Authorization": f"Bearer {keys[role]}"}
        query = {"to": "skops", "filename": "odd.pkl", **query}
        return asked(app, "POST", "/api/v1/models/odd/conversions", headers=headers, params=query, content=data)

    assert sent("data-scientist").json()["code"] == "convert-flagged"
    assert sent("data-scientist", despite_findings="false").json()["code"] == "convert-flagged"
    answer = sent("data-scientist", despite_findings="true", reason="ours")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "model:convert-flagged" in answer.json()["detail"]
    assert sent("owner", despite_findings="true").json()["code"] == "no-reason"
    assert sent("owner", despite_findings="true", reason="written by Ada").json()["version"] == 1
    shown = casemate.model("odd@1")["conversion"]
    assert (shown["despite_findings"], shown["reason"]) == (True, "written by Ada")
    assert "pickle-forbidden-import" in shown["source"]["findings"]


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ({"to": "exe"}, b"x", "convert-target"),
        ({"filename": "a\nb"}, pickled(), "bad-filename"),
        ({}, b"", "convert-no-pickle"),
        ({}, b"no pickle at all", "convert-no-pickle"),
        ({}, pickle.dumps([1, 2]), "convert-estimator"),
        ({"sample": "900"}, b"a,b\n", "bad-upload"),
        ({"sample": "4", "sample_dataset": "visits"}, b"a,b\n", "convert-sample"),
        ({"sample": "8", "sample_name": "r.csv"}, b"a,b\n1,2\n" + pickled(), "convert-sample"),
        ({"dataset": "nowhere"}, pickled(), "not-found"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(
    casemate: Casemate, nothing_left: Any, query: dict[str, str], body: bytes, code: str
) -> None:
    with pytest.raises(CasemateError) as caught:
        casemate._change("POST", "/models/unmade/conversions", query={"to": "onnx", **query}, content=body)
    assert caught.value.code == code, caught.value.message
    assert "\n" not in caught.value.message
    with pytest.raises(NotFoundError):
        casemate.model("unmade")


def test_an_upload_that_broke_off_leaves_nothing(
    casemate: Casemate, pending: Path, socket_path: Path, nothing_left: Any
) -> None:
    """Large enough to lie on the disk meanwhile, encrypted."""
    data = pickled() + np.random.default_rng(0).bytes(40 << 20)
    head = (
        f"POST /api/v1/models/broken/conversions?to=onnx HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data) + 1}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{casemate._connection.folder}/{socket_path.name}")
        client.sendall(head.encode() + data)
        while sum(file.stat().st_size for file in pending.iterdir()) < 33 << 20:
            time.sleep(0.02)
        assert all(data[:500] not in file.read_bytes() for file in pending.iterdir())
    outcome: list[str] = []
    while not outcome:
        entries = casemate.audit_entries(kind="outcome", action="model:convert")
        outcome = [one["facts"]["error"] for one in entries if one["resource"].endswith("broken")]
        time.sleep(0.02)
    assert outcome == ["upload-cut-off"]
    with pytest.raises(NotFoundError):
        casemate.model("broken")


def test_weights_are_kept_and_not_served(casemate: Casemate, model: Path) -> None:
    made = casemate.conversions.make("weights", model, to="safetensors")
    assert (made["verdict"], made["version"]) == ("clean", 1)
    assert casemate.verify_models("weights@1")["ok"]
    casemate.approve("weights@1", reason="to keep")
    with pytest.raises(CasemateError) as caught:
        casemate.deploy("weights-live", "weights@1")
    assert caught.value.code == "model-format"


def test_words_that_do_not_go_together(settings: Settings, casemate: Casemate, model: Path, tmp_path: Path) -> None:
    convert = ("model", "convert", model, "--to", "skops")
    assert typed(settings, *convert, "--push", "x", "--out", tmp_path / "out").exit_code == 2
    assert typed(settings, *convert, "--sample-dataset", "visits").exit_code == 2
    assert typed(settings, *convert, "--dataset", "visits").exit_code == 2


def test_what_a_user_pushes_beside_a_model_is_what_they_say(
    settings: Settings, casemate: Casemate, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    done = typed(settings, "model", "convert", model, "--to", "skops", "--out", folder, "--json")
    assert done.exit_code == 0, done.output
    assert casemate.push_model("said", folder)["verdict"] == "clean"
    shown = casemate.model("said@1")
    assert set(shown["files"]) == {"model.skops", "conversion.json"}
    assert shown["conversion"] is None
    assert casemate.lineage("said@1")["from"] == []
