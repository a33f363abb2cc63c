"""A suspect behind an address: a real server on this machine that answers well, badly, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from casemate.client.suspects import ask_suspect
from casemate.core import CasemateError, Digest
from casemate.evaluation.claims import Calibration, Fingerprint

KNOWN = Fingerprint(
    kind="casemate-fingerprint", model="risk@1", digest=Digest("sha256:" + "a" * 64), key="00", input="X",
    datatype="FP32", features=(), classes=("no", "yes"), queries=tuple((float(n % 2), 0.5) for n in range(120)),
    answers=("no", "yes") * 60, calibration=Calibration(references=(40,), families=("a",), chance=0.6),
    made_by="usr_1", made_at="2026",
)  # fmt: skip


class Suspect:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict]] = []
        self.answer: Callable[[list], tuple[int, object]] = lambda rows: (200, labelled(rows))


def labelled(rows: list) -> dict:
    said = ["yes" if row[0] else "no" for row in rows]
    return {"outputs": [{"name": "label", "datatype": "BYTES", "shape": [len(rows)], "data": said}]}


def scored(rows: list) -> dict:
    flat = [share for row in rows for share in (1 - row[0], row[0])]
    return {"outputs": [{"name": "p", "datatype": "FP32", "shape": [len(rows), 2], "data": flat}]}


@pytest.fixture
def suspect() -> Iterator[tuple[Suspect, str]]:
    known = Suspect()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.asked.append((self.path, self.headers.get("Authorization", ""), body["inputs"][0]))
            status, answer = known.answer(body["inputs"][0]["data"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield known, f"http://127.0.0.1:{server.server_port}/v2/models/risk"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("answer", "names"), [(labelled, ("no", "yes")), (scored, ("0", "1"))])
def test_each_question_is_asked_once_in_order_in_small_portions(suspect, answer, names) -> None:
    known, url = suspect
    known.answer = lambda rows: (200, answer(rows))
    told: list[int] = []
    said = ask_suspect(url, KNOWN, key="cm_key", progress=lambda done, _: told.append(done))
    assert said == list(names) * 60
    assert told == [50, 100, 120]
    assert {(path, key) for path, key, _ in known.asked} == {("/v2/models/risk/infer", "Bearer cm_key")}
    assert known.asked[0][2]["shape"] == [50, 2]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((403, b"no"), "suspect-refused"),
        ((200, b"<html>"), "suspect-answer"),
        ((200, []), "suspect-answer"),
        ((200, {"outputs": [{"name": "a", "datatype": "INT64", "shape": [3], "data": [1, 2]}]}), "suspect-answer"),
        ((200, {"outputs": []}), "suspect-answer"),
        ((200, {"outputs": [{"name": "a", "datatype": "FP32", "shape": ["x"], "data": [{}]}]}), "suspect-answer"),
    ],
)
def test_what_a_suspect_answers_badly_is_one_sentence(suspect, answer, code: str) -> None:
    known, url = suspect
    known.answer = lambda _: answer
    with pytest.raises(CasemateError) as refused:
        ask_suspect(url, KNOWN)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("url", "code"), [("ftp://x", "bad-url"), ("http://127.0.0.1:1/v2/models/x", "suspect-unreachable")]
)
def test_an_address_that_leads_nowhere(url: str, code: str) -> None:
    with pytest.raises(CasemateError) as refused:
        ask_suspect(url, KNOWN)
    assert refused.value.code == code
