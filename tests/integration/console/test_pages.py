"""The pages as a browser gets them: locked down, empty of secrets, behind the gate, and never leading elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from soft_passkey import SoftPasskey
from test_door import call

import casemate.console.pages
from casemate.client import Casemate
from casemate.console import Services, build_door
from casemate.console.pages import build_pages
from casemate.console.pages.frame import client_in_words
from casemate.core import Action
from casemate.doors import Rate, RefusalLimit
from casemate.iam import CommandLine, challenge_of

FOLDER = Path(casemate.console.pages.__file__).parent
SITE = "https://localhost:8444"  # as the settings have it by default; the tests ask another host, which decides nothing
OWN = {"host": "casemate", "origin": "https://casemate", "sec-fetch-site": "same-origin"}
SHOWN = {"host": "casemate", "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}


@pytest.fixture(autouse=True)
def _unhurried(app) -> None:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))


VERIFIER = "v" * 43
COMMAND = f"/command?challenge={challenge_of(VERIFIER)}&port=4000"


class Browser:
    """A person with a passkey, whose cookies are kept."""

    def __init__(self, app: Any, casemate: Casemate, name: str) -> None:
        self.app, self.cookies, self.csrf, self.device = app, {}, "", SoftPasskey()
        self.invitation = casemate.people.invite(name, role="operator", reason="<script>alert(1)</script>")[
            "invitation"
        ]

    def send(self, method: str, path: str, headers: dict[str, str] = OWN, **request: Any) -> Any:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        more = {"cookie": cookie, **({"X-CSRF-Token": self.csrf} if self.csrf else {})}
        answer = call(self.app, method, path, headers={**headers, **more}, **request)
        self.cookies |= dict(answer.cookies)
        if answer.headers.get("content-type", "").startswith("application/json"):
            self.csrf = answer.json().get("csrf", self.csrf)
        return answer

    def api(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return self.send(method, f"/api/v1/{path}", json=body, **more)

    def enrol(self, label: str = "laptop") -> Any:
        options = self.api("POST", "enrolment/passkey/options", {"invitation": self.invitation}).json()
        passkey = self.device.create(options, SITE)
        body = {"invitation": self.invitation, "passkey": passkey, "name": label, "cookie": True}
        return self.api("POST", "enrolment/passkey", body)

    def sign_in(self, **more: Any) -> Any:
        options = self.api("POST", "session/passkey/options").json()
        return self.api("POST", "session/passkey", {"passkey": self.device.get(options, SITE), "cookie": True, **more})


@pytest.fixture(scope="module")
def ada(app, casemate: Casemate) -> Browser:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    made = Browser(app, casemate, "page-ada")
    answer = made.enrol("<img src=x onerror=alert(1)>")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["recovery_codes"]) == 10
    assert "token" not in answer.json()
    return made


def paths_of(routes: Any) -> set[str]:
    found: set[str] = set()
    for one in routes:
        inner = getattr(one, "original_router", None)
        found |= paths_of(inner.routes) if inner is not None else {one.path}
    return found


def test_every_page_is_declared_and_nothing_else_is_served(app) -> None:
    pages = set(build_pages().actions) | {"/static/{name}"}
    served = {path for path in paths_of(app.routes) if not path.startswith("/api/")}
    assert served == pages
    assert {path for path, action in build_pages().actions.items() if action is None} == {"/", "/enrol", "/signed-in"}
    assert not any(path in pages for _, path in build_door().actions)


@pytest.mark.parametrize("path", ["/", "/enrol", "/signed-in", "/account", "/approve", COMMAND])
def test_every_page_is_locked_down(ada: Browser, path: str) -> None:
    answer = call(ada.app, "GET", path) if path in ("/", "/enrol", "/signed-in") else ada.send("GET", path, SHOWN)
    assert answer.status_code == 200, answer.text
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["trusted-types"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in answer.headers, "localhost is every server of the machine"
    text = re.sub(r"&lt;.*?&gt;", "", answer.text)  # what people typed
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    others = re.findall(r"(?:src|href|action)=\"((?!/|#)[^\"]*)\"", text)
    assert set(others) <= {f"{SITE}/"}, "nothing from elsewhere"
    assert text.startswith("<!doctype html>")
    for field in re.findall(r"<input(?![^>]*hidden)[^>]*\bid=\"([^\"]+)\"", text):
        assert f'for="{field}"' in text, f"{field} has no label"


def test_what_people_type_is_shown_as_text(ada: Browser, casemate: Casemate) -> None:
    text = ada.send("GET", "/account", SHOWN).text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    assert [one for one in ada.cookies.values() if one in text] == [], "no secret in the page"


def test_the_account_is_behind_the_gate_and_on_record(ada: Browser, casemate: Casemate) -> None:
    stranger = call(ada.app, "GET", "/account", headers=SHOWN)
    assert (stranger.status_code, stranger.headers["location"]) == (303, "/")
    with_key = casemate.issue_key("page-key", role="owner", expires="1h")["key"]
    by_key = call(ada.app, "GET", "/account", headers={**SHOWN, "authorization": f"Bearer {with_key}"})
    assert by_key.status_code == 303, "a page reads cookies alone"
    before = casemate.audit_entries(limit=1)[0]["seq"]
    assert ada.send("GET", "/account", SHOWN).status_code == 200
    made = [one for one in casemate.audit_entries(limit=20) if one["seq"] > before and one["kind"] == "decision"]
    shown = [(one["action"], one["outcome"]) for one in made if one["actor"].startswith("usr_")]
    assert shown == [("user:read", "allowed"), ("session:read", "allowed")]


def test_a_session_that_is_over_is_forgotten_and_one_shown_by_another_site_left_alone(ada: Browser) -> None:
    over = call(ada.app, "GET", "/account", headers={**SHOWN, "cookie": "__Host-casemate=cms_" + "x" * 49})
    assert (over.status_code, over.headers["location"]) == (303, "/")
    assert '__Host-casemate=""' in over.headers["set-cookie"]
    elsewhere = ada.send("GET", "/account", {"host": "casemate", "sec-fetch-site": "same-site"})
    assert elsewhere.status_code == 303
    assert "set-cookie" not in elsewhere.headers
    start = ada.send("GET", "/", {"host": "casemate", "sec-fetch-site": "same-site"})
    assert start.status_code == 200, "no circle"
    assert "Go to your account" in start.text, "from a page of ours the cookie comes along"
    assert "Go to your account" not in call(ada.app, "GET", "/", headers=SHOWN).text
    assert ada.send("GET", "/", SHOWN).headers["location"] == "/account"


def test_no_page_leads_to_the_host_that_a_client_names(ada: Browser) -> None:
    for path in ("/", "/enrol", "/account", "/nothing", "/static/nothing"):
        answer = call(ada.app, "GET", path, headers={"Host": "evil.example"})
        assert "evil.example" not in str(answer.headers) + answer.text


def test_files_are_ours_alone_and_not_sent_twice(ada: Browser) -> None:
    for file in (FOLDER / "static").iterdir():
        answer = call(ada.app, "GET", f"/static/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = call(ada.app, "GET", f"/static/{file.name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "http:" not in file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage", file.read_text()
        )
    for name in ("..%2fframe.py", "%2e%2e/frame.py", "sign_in.html", "frame.py"):
        assert call(ada.app, "GET", f"/static/{name}").status_code == 404


def test_sign_in_by_passkey_over_the_console(ada: Browser, casemate: Casemate) -> None:
    answer = ada.sign_in()
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"id", "principal", "name", "expires_at", "csrf"}
    flags = answer.headers.get_list("set-cookie")
    assert all("HttpOnly" in one and "Secure" in one and "SameSite=strict" in one for one in flags)
    listed = ada.api("GET", "sessions").json()["items"]
    assert [one["methods"] for one in listed if one["current"]] == [["passkey"]]
    events = casemate.audit_entries(kind="sign-in", limit=1)
    assert events[0]["facts"]["methods"] == ["passkey"]


def test_a_passkey_from_another_site_or_for_another_browser_is_refused_the_same(ada: Browser) -> None:
    before, ada.cookies = ada.cookies, {}  # a place where nobody is known, so that what fails is held against no other
    options = ada.api("POST", "session/passkey/options", address="198.51.100.77").json()
    right = ada.device.get(options, SITE)
    crossing = {"host": "casemate", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}

    def tried(passkey: Any, headers: dict[str, str] = OWN, **more: Any) -> str:
        body = {"passkey": passkey, "cookie": True, **more}
        return ada.api("POST", "session/passkey", body, headers=headers, address="198.51.100.77").text

    assert "cross-site" in tried(right, crossing)
    kept, ada.cookies["__Host-casemate-challenge"] = ada.cookies["__Host-casemate-challenge"], "another"
    told = {tried(right)}
    ada.cookies["__Host-casemate-challenge"] = kept
    told.add(tried(right))  # used up by the attempt
    options = ada.api("POST", "session/passkey/options", address="198.51.100.77").json()
    told.add(tried(ada.device.get(options, "https://casemate")))
    told.add(tried({}))
    told.add(tried({"id": []}, name="nobody", password="x"))
    ada.cookies = before
    assert len(told) == 1
    assert "bad-sign-in" in told.pop()


def test_own_passkeys_are_added_named_and_removed(ada: Browser, services: Services) -> None:
    assert ada.sign_in().status_code == 200
    spare = SoftPasskey()
    options = ada.api("POST", "session/passkeys/options").json()
    added = ada.api("POST", "session/passkeys", {"passkey": spare.create(options, SITE), "name": "spare"})
    assert added.status_code == 200, added.text
    spare_id = added.json()["id"]
    assert ada.api("PUT", f"session/passkeys/{spare_id}?name=drawer").json()["name"] == "drawer"
    items = ada.api("GET", "session/passkeys").json()["items"]
    assert [one["name"] for one in items][-1] == "drawer"
    assert {"key", "credential"} & set(items[0]) == set()
    first = items[0]["id"]
    removed = ada.api("DELETE", f"session/passkeys/{first}")
    assert removed.status_code == 200, removed.text
    assert (removed.json()["passkey"], removed.json()["state"]) == (first, "removed")
    ada.device = spare
    last = ada.api("DELETE", f"session/passkeys/{spare_id}")
    assert (last.status_code, last.json()["code"]) == (409, "last-factor")
    assert ada.sign_in().status_code == 200


def test_a_change_by_cookie_wants_the_token_of_the_page(ada: Browser) -> None:
    csrf, ada.csrf = ada.csrf, "0" * 64
    refused = ada.api("POST", "session/passkeys/options")
    assert (refused.status_code, refused.json()["code"]) == (401, "cross-site")
    ada.csrf = csrf
    assert f'data-csrf="{csrf}"' in ada.send("GET", "/account", SHOWN).text


def test_a_picture_of_the_secret_only_where_it_is_asked_for(app, casemate: Casemate) -> None:
    made = casemate.people.invite("page-bob", role="caller")["invitation"]
    body = {"invitation": made, "password": "tidal-gravel-otter-plinth"}
    plain = call(app, "POST", "/api/v1/enrolment", json=body).json()
    assert set(plain) == {"name", "secret", "uri"}
    shown = call(app, "POST", "/api/v1/enrolment", json={**body, "qr": True}).json()
    assert shown["qr"].startswith("data:image/svg+xml")


def test_a_command_line_is_let_in_by_its_person_alone(app, ada: Browser) -> None:
    assert CommandLine(challenge=challenge_of(VERIFIER), port=4000).code in ada.send("GET", COMMAND, SHOWN).text
    body = {"challenge": challenge_of(VERIFIER), "port": 4000}
    without = {"cookie": f"__Host-casemate={ada.cookies['__Host-casemate']}", **OWN}
    assert call(app, "POST", "/api/v1/session/command", headers=without, json=body).json()["code"] == "cross-site"
    bearer = {"Authorization": f"Bearer {ada.cookies['__Host-casemate']}"}
    assert call(app, "POST", "/api/v1/session/command", headers=bearer, json=body).json()["code"] == "no-browser"
    made = ada.api("POST", "session/command", body).json()["url"]
    assert made.startswith("http://127.0.0.1:4000/?ticket=")
    fetched = {"ticket": made.rpartition("=")[2], "verifier": VERIFIER}
    answer = call(app, "POST", "/api/v1/session/command-ticket", json=fetched)
    assert answer.status_code == 200, answer.text
    who = call(app, "GET", "/api/v1/session", headers={"Authorization": f"Bearer {answer.json()['token']}"}).json()
    assert who["name"] == "page-ada"
    assert call(app, "POST", "/api/v1/session/command-ticket", json=fetched).json()["code"] == "bad-ticket"


def test_who_must_sign_in_first_is_asked_about_the_command_line_afterwards(app) -> None:
    answer = call(app, "GET", COMMAND, headers=SHOWN)
    assert (answer.status_code, answer.headers["location"]) == (303, COMMAND.replace("/command", "/"))
    elsewhere = {**SHOWN, "sec-fetch-site": "cross-site"}
    assert call(app, "GET", COMMAND, headers=elsewhere).headers["location"] == "/", "nobody else's command"
    odd = "/command?challenge=%0d%0aSet-Cookie:x&port=//evil.example"
    assert "\n" not in (location := call(app, "GET", odd, headers=SHOWN).headers["location"])
    assert location.startswith("/?challenge=%0D%0A"), "as text"


@pytest.mark.parametrize("query", ["", "?challenge=short&port=4000", f"?challenge={'c' * 43}&port=80"])
def test_no_command_line_waits_behind_an_odd_address(ada: Browser, query: str) -> None:
    answer = ada.send("GET", f"/command{query}", SHOWN)
    assert (answer.status_code, "S256" in answer.text) == (400, True)


def test_the_page_that_cannot_be_shown_says_why(app, ada: Browser) -> None:
    app.state.refusals = RefusalLimit(Rate(per_second=0.001, burst=1))
    over = {**SHOWN, "cookie": "__Host-casemate=cms_" + "x" * 49}
    told = [call(app, "GET", "/account", headers=over) for _ in range(3)]
    assert told[-1].status_code == 429
    assert "This page cannot be shown" in told[-1].text
    assert told[-1].headers["content-security-policy"].startswith("default-src 'none'")


def test_browsers_are_named_for_people() -> None:
    assert (
        client_in_words("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0") == "Firefox on Linux"
    )
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    assert client_in_words(chrome) == "Chromium, Chrome or Edge on Windows"
    assert client_in_words("casemate/0.1") == "casemate/0.1"
    assert client_in_words("") == "unnamed client"
    assert Action.SESSION_READ in build_pages().actions.values()
