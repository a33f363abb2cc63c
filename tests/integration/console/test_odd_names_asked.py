"""Names that only look like others are refused by every route and command that makes something, and nothing is kept."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from odd_names import ODD, REAL
from test_access_cells import QUERY
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate
from casemate.console import build_door
from casemate.settings import Settings

ENDS = ("revocation", "keys", "bindings", "rollback", "pause", "resume", "verification")  # act on what must be there
MAKES = [  # by a name in the path, or among the query's
    (method, path)
    for method, path in build_door().actions
    if method in ("POST", "PUT")
    and (("{name}" in path and not path.endswith(ENDS)) or path in ("/api/v1/keys", "/api/v1/users"))
]


@pytest.fixture(scope="module")
def owner(casemate: Casemate) -> dict[str, str]:
    for name in REAL:
        casemate.people.invite(name, role="auditor")
    return {"Authorization": f"Bearer {casemate.issue_key('odd-owner', role='owner', expires='1h')['key']}"}


def kept(casemate: Casemate) -> list[Any]:
    found = [casemate.keys(), casemate.people.all(), casemate.models(), casemate.datasets(), casemate.deployments()]
    return [[one["name"] for one in items] for items in found]


@pytest.mark.parametrize(("method", "path"), MAKES, ids=lambda value: value)
def test_no_route_takes_one(app: Any, casemate: Casemate, owner: dict[str, str], method: str, path: str) -> None:
    before = kept(casemate)
    app.state.requests.__init__()  # how often is asked here is not what is tried
    for what, name in ODD.items():
        if "\ud800" in name or (
            "{name}" in path and name in ("", "../ada")
        ):  # no address can hold it, or it is another
            continue
        filled = path.replace("{name}", quote(name, safe="")).replace("{version}", "1")
        answer = call(app, method, filled, headers=owner, params={**QUERY, "name": name})
        assert answer.status_code in (400, 404), (what, answer.status_code, answer.text)
        assert answer.json()["family"] in ("InputError", "NotFoundError"), (what, answer.text)
    assert kept(casemate) == before


@pytest.mark.parametrize(
    "name", [ODD[one] for one in ("fullwidth", "a Cyrillic a", "a trailing dot", "capitals", "a trailing line feed")]
)
@pytest.mark.parametrize(
    "words",
    [
        ("user", "invite", "NAME", "--role", "auditor"),
        ("key", "issue", "NAME", "--role", "caller"),
        ("issuer", "add", "NAME", "--kind", "github", "--audience", "us"),
        ("user", "show", "NAME"),
    ],
    ids=" ".join,
)
def test_no_command_takes_one(settings: Settings, socket_path: object, words: tuple[str, ...], name: str) -> None:
    done = CliRunner().invoke(cli, ["--home", str(settings.home), *(name if one == "NAME" else one for one in words)])
    assert done.exit_code in (1, 2), done.output
    assert "Traceback" not in done.output
    assert len(done.output.strip().splitlines()) <= 2, done.output
