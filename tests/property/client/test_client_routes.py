"""No value given to a method of the client reaches another route than that method's own."""

from __future__ import annotations

import contextlib
import inspect
import sqlite3
from collections.abc import Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Match

from casemate.client import Casemate
from casemate.console.app import build_door
from casemate.core import InputError, UpstreamError

ROUTES = build_door().router.routes
with Casemate(server="https://127.0.0.1:1", key="cm_test") as _casemate:
    KINDS = {name: type(room) for name, room in vars(_casemate).items() if not name.startswith("_")} | {"": Casemate}
METHODS = sorted(  # all: a new one is tried as well
    f"{prefix}.{name}".lstrip(".")
    for prefix, kind in KINDS.items()
    for name, _ in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_")
)
IDS = {
    "key_id": "key_",
    "grant_id": "grt_",
    "binding_id": "bnd_",
    "entry": "evt_",
    "receipt": "evt_",
    "review_id": "rev_",
    "session_id": "ses_",
    "passkey_id": "pky_",
    "proposal": "plc_",
    "which": "plc_",
}
PLAIN = {name: prefix + "0" * 32 for name, prefix in IDS.items()} | {"sql": "SELECT 1", "source": "env://ROWS_OF"}
PARTS = (
    "a",
    "1",
    "..",
    ".",
    "/",
    "//",
    "\\",
    "@",
    "#",
    "?",
    "%2e",
    "%2F",
    "%",
    ":",
    ";",
    "é",
    " ",
    "\n",
    "\0",
    "\x1b[2J",
)
PARTS += ("versions", "latest", "keys", "datasets", "rollback", "pause", "proof", "rows", "\udcff", "")
AWKWARD = st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=80)


class Recorder(httpx.BaseTransport):
    """Answers everything, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return httpx.Response(200, json={"items": [], "next": None, "checkpoint": ""})


def reached(method: str, folder: Path, values: dict[str, str]) -> set[str]:
    """The routes that a call of `method` reaches, the strings among its arguments replaced by `values`."""
    taken = taken_by(method)
    given = {name: given_to(method, name, taken[name], folder, values) for name in named(taken)}
    casemate, recorder = recorded()
    recorder.asked.clear()
    with contextlib.suppress(InputError, UpstreamError):
        attrgetter(method)(casemate)(**given)
    return {route_of(request) for request in recorder.asked}


@cache
def recorded() -> tuple[Casemate, Recorder]:
    """One client for all, since each would read the system's certificates anew."""
    casemate, recorder = Casemate(socket=Path("unused.sock")), Recorder()
    casemate._connection.http = httpx.Client(base_url="https://127.0.0.1:1", transport=recorder, trust_env=False)
    return casemate, recorder


def taken_by(method: str) -> Any:
    prefix, _, name = method.rpartition(".")
    return inspect.signature(getattr(KINDS[prefix], name)).parameters


def named(taken: Any) -> list[str]:
    return [
        name
        for name, one in taken.items()
        if name not in ("self", "progress", "follow") and one.kind is not one.VAR_KEYWORD
    ]


def given_to(method: str, name: str, parameter: inspect.Parameter, folder: Path, values: dict[str, str]) -> Any:
    if "Path" in str(parameter.annotation):
        return folder / (f"to-{method}" if name == "to" else "file")
    if str(parameter.annotation).startswith(("dict", "Mapping")):
        return {"sub": values.get(name, "plain")}
    if str(parameter.annotation) == "bytes":
        return values.get(name, "plain").encode(errors="surrogateescape")
    return values.get(name, PLAIN.get(name, "plain"))


def route_of(request: httpx.Request) -> str:
    """The route as the door finds it: by the path as it was sent, which is never unquoted."""
    path = request.url.raw_path.partition(b"?")[0].decode("ascii")
    scope = {"type": "http", "path": path, "method": request.method, "root_path": ""}
    found = [route.path for route in ROUTES if route.matches(scope)[0] is Match.FULL]  # type: ignore[attr-defined]
    return f"{request.method} {found[0] if found else 'nowhere: ' + path}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("files")
    (made / "file").write_bytes(b"x")
    sqlite3.connect(made / "rows.db").close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWS_OF", f"sqlite:///{made / 'rows.db'}")
        yield made


@pytest.mark.parametrize("method", METHODS)
def test_no_value_reaches_another_route(method: str, folder: Path) -> None:
    own = reached(method, folder, {})
    assert len(own) == 1
    assert "nowhere" not in str(own)
    taken = taken_by(method)
    strings = [name for name in named(taken) if "str" in str(taken[name].annotation)]

    @settings(max_examples=20, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(strings, AWKWARD)))
    def holds(values: dict[str, str]) -> None:
        assert reached(method, folder, values) <= own
        for name, value in values.items():  # one alone, so that a refused neighbour hides nothing
            assert reached(method, folder, {name: value}) <= own

    holds()


@pytest.mark.parametrize("ref", ["", "é", "..", "a/../b", "a@", "a@..", "../keys", "patients/versions/1#", "other/a"])
def test_what_is_no_name_gets_one_sentence(ref: str, folder: Path) -> None:
    with Casemate(server="https://127.0.0.1:1", key="cm_test") as casemate:
        for call in (casemate.dataset, casemate.model, casemate.lineage, casemate.delete_model, casemate.deployment):
            with pytest.raises(InputError, match=r"^[^\n]+\.$"):
                call(ref)
        for call in (casemate.revoke_key, casemate.audit_proof):
            with pytest.raises(InputError, match="is not an id"):
                call(ref)
