"""People over the console: enrolment, sign-in, cookies, step-up, and what an owner may do about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pyotp
import pytest
from test_door import call

from casemate.app.ground import LocalKeeper, open_ground
from casemate.app.keeper import gateway_methods
from casemate.client import Casemate
from casemate.console import Services
from casemate.core import PolicyError
from casemate.doors import Rate, RefusalLimit
from casemate.storage import open_home
from casemate.storage.home_keys import PEOPLE_KEY, key_context

WORDS = "tidal-gravel-otter-plinth"
SITE = {"host": "casemate", "origin": "https://casemate", "sec-fetch-site": "same-origin"}


@pytest.fixture(autouse=True)
def _unhurried(app) -> None:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))


class Person:
    """Somebody who was invited and enrols. A code is good once, so one that was used is waited out by recovery codes."""

    def __init__(self, app: Any, casemate: Casemate, name: str, role: str, **more: Any) -> None:
        self.app, self.name = app, name
        made = casemate.people.invite(name, role=role, **more)
        self.id, self.invitation = made["id"], made["invitation"]
        self.enrol()

    def enrol(self) -> None:
        begun = self.send("POST", "enrolment", json={"invitation": self.invitation, "password": WORDS})
        assert begun.status_code == 200, begun.text
        self.secret = begun.json()["secret"]
        assert begun.json()["uri"].startswith("otpauth://totp/Casemate:")
        body = {"invitation": self.invitation, "code": pyotp.TOTP(self.secret).now()}
        done = self.send("POST", "enrolment/confirmation", json=body)
        assert done.status_code == 200, done.text
        self.token, self.recovery = done.json()["token"], done.json()["recovery_codes"]
        self.device = done.json()["device"]

    def send(self, method: str, path: str, **request: Any) -> Any:
        return call(self.app, method, f"/api/v1/{path}", request.pop("address", "192.0.2.1"), **request)

    def ask(self, method: str, path: str, **request: Any) -> Any:
        return self.send(method, path, headers={"Authorization": f"Bearer {self.token}"}, **request)

    def sign_in(self, **more: Any) -> Any:
        body = {"name": self.name, "password": WORDS, "code": self.recovery.pop(), **more}
        return self.send("POST", "session", json=body, headers=SITE)


@pytest.fixture(scope="module")
def ada(app, casemate: Casemate) -> Person:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    return Person(app, casemate, "ada", "owner")


def stale(services: Services, person: Person) -> None:
    """As if the last second factor of the person's sessions had been ten minutes ago."""
    now = services.clock.now()
    for session in services.sessions.of(person.id, now=now):
        old = msgspec.structs.replace(session, verified_at=now - timedelta(minutes=10))
        services.sign_in.rows.put(session.row, old, ends_at=old.ends_at, principal=person.id)


def test_a_person_acts_by_their_grants_under_their_own_name(ada: Person, casemate: Casemate) -> None:
    assert ada.ask("GET", "models").status_code == 200
    who = ada.ask("GET", "session").json()
    assert (who["name"], who["kind"], who["session"]["current"]) == ("ada", "user", True)
    entry = casemate.audit_entries(action="model:read", limit=1)[0]
    assert (entry["actor"], entry["credential"]) == (ada.id, who["id"])


def test_sign_in_out_and_in_again(ada: Person) -> None:
    answer = ada.sign_in()
    assert answer.status_code == 200, answer.text
    other = answer.json()["token"]
    listed = ada.ask("GET", "sessions").json()["items"]
    assert len(listed) >= 2
    headers = {"Authorization": f"Bearer {other}"}
    assert ada.send("DELETE", "session", headers=headers).json()["state"] == "ended"
    gone = ada.send("GET", "session", headers=headers)
    assert (gone.status_code, gone.json()["code"]) == (401, "bad-session")


def test_a_session_is_ended_from_another(ada: Person) -> None:
    other = ada.sign_in().json()
    assert ada.ask("DELETE", f"sessions/{other['id']}").json() == {"id": other["id"], "state": "revoked"}
    assert ada.send("GET", "models", headers={"Authorization": f"Bearer {other['token']}"}).status_code == 401
    assert ada.ask("DELETE", f"sessions/{other['id']}").json()["code"] == "session-not-found"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "ada", "password": WORDS, "code": "000000"}, 401),
        ({"name": "nobody", "password": WORDS, "code": "000000"}, 401),
        ({"name": "ada", "password": "wrong-wrong-wrong", "code": "000000"}, 401),
        ({"name": "ada", "password": WORDS}, 400),
        ({"name": "ada", "password": 12, "code": "000000"}, 400),
        ({"name": "ada", "password": "x" * 600, "code": "000000"}, 400),
        ({"name": "ada", "password": WORDS, "code": "000000", "admin": True}, 400),
        (["ada"], 400),
        (None, 400),
    ],
)
def test_a_wrong_sign_in_echoes_nothing(ada: Person, body: Any, status: int, request: Any) -> None:
    answer = ada.send("POST", "session", json=body, address=f"198.51.{len(str(body))}.1")
    assert answer.status_code == status, answer.text
    assert WORDS not in answer.text
    assert "xxxxxxxx" not in answer.text
    if status == 401:
        assert answer.json()["code"] == "bad-sign-in"


def test_too_many_attempts_are_told_when_to_come_back(app, ada: Person) -> None:
    body = {"name": "ada", "password": "wrong-wrong-wrong", "code": "000000"}
    told = [ada.send("POST", "session", json=body, address="203.0.113.1") for _ in range(6)]
    assert [answer.status_code for answer in told] == [401] * 4 + [429] * 2
    assert 1 <= int(told[-1].headers["retry-after"]) <= 2
    app.state.attempts = RefusalLimit(Rate(per_second=0.1, burst=2))
    told = [ada.send("POST", "session", json={**body, "name": f"n{n}"}, address="203.0.114.1") for n in range(3)]
    assert told[-1].json()["code"] == "address-limited"
    assert ada.sign_in(device=ada.device).status_code == 200


def test_a_stale_factor_is_challenged_and_a_code_mends_it(ada: Person, services: Services) -> None:
    stale(services, ada)
    asked = {"name": "made", "role": "operator", "expires": "1h"}
    answer = ada.ask("POST", "keys", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (401, "step-up-required")
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'max_age="300"' in challenge
    assert ada.ask("POST", "keys", params={**asked, "role": "caller"}).status_code == 200
    verified = ada.ask("POST", "session/verification", json={"code": ada.recovery.pop()})
    assert verified.status_code == 200, verified.text
    old, ada.token = ada.token, verified.json()["token"]
    assert ada.ask("POST", "keys", params=asked).status_code == 200
    assert ada.send("GET", "models", headers={"Authorization": f"Bearer {old}"}).status_code == 401


def test_the_client_asks_for_a_code_and_repeats_the_same_request(
    app, ada: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked:
        kept = ""

        def code(self) -> str:
            return ada.recovery.pop()

        def keep(self, token: str) -> None:
            self.kept = token

    stale(services, ada)
    asking = Asked()
    sent: list[httpx.Request] = []

    class Through(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.read()
            sent.append(request)
            answer = call(app, request.method, str(request.url), headers=dict(request.headers), content=request.content)
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    client = Casemate(server="https://casemate", key=ada.token, step_up=asking)
    line = client._connection
    line.http = httpx.Client(base_url="https://casemate", headers=line.http.headers, transport=Through())
    made = client.issue_key("again", role="auditor", expires="1h")
    assert made["key"].startswith("cm_")
    first, verification, second = sent
    assert verification.url.path == "/api/v1/session/verification"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    ada.token = asking.kept


def test_a_password_that_is_sent_again_under_the_same_key_is_not_told_to_be_changed(app, casemate: Casemate) -> None:
    pia = Person(app, casemate, "pia", "auditor")

    def change(old: str, new: str) -> Any:
        headers = {"Authorization": f"Bearer {pia.token}", "Idempotency-Key": "req_" + "1" * 32}
        return pia.send("POST", "session/password", json={"password": old, "new": new}, headers=headers)

    changed = change(WORDS, "another-tidal-gravel-plinth")
    assert changed.status_code == 200, changed.text
    pia.token = changed.json()["token"]
    again = change("another-tidal-gravel-plinth", "glacier-tuba-nickel-fog")
    assert (again.status_code, again.json()["code"]) == (409, "repeated")


def cookie_of(answer: Any) -> dict[str, str]:
    return {
        "cookie": next(one for one in answer.headers.get_list("set-cookie") if "casemate=cms_" in one).split(";")[0]
    }


def test_signing_in_again_ends_the_session_that_the_browser_had(ada: Person) -> None:
    first = cookie_of(ada.sign_in(cookie=True, device=ada.device))
    body = {"name": "ada", "password": WORDS, "code": ada.recovery.pop(), "cookie": True, "device": ada.device}
    wrong = ada.send("POST", "session", json={**body, "password": "wrong-wrong-wrong"}, headers={**SITE, **first})
    assert wrong.status_code == 401
    assert ada.send("GET", "session", headers={**SITE, **first}).status_code == 200, "whoever fails ends nothing"
    again = ada.send("POST", "session", json=body, headers={**SITE, **first})
    assert again.status_code == 200, again.text
    assert ada.send("GET", "session", headers={**SITE, **first}).status_code == 401
    assert ada.send("GET", "session", headers={**SITE, **cookie_of(again)}).status_code == 200


def test_enrolling_ends_the_session_that_the_browser_had(ada: Person, casemate: Casemate) -> None:
    first = cookie_of(ada.sign_in(cookie=True, device=ada.device))
    invitation = casemate.people.invite("zoe", role="caller")["invitation"]
    secret = ada.send("POST", "enrolment", json={"invitation": invitation, "password": WORDS}).json()["secret"]
    body = {"invitation": invitation, "code": pyotp.TOTP(secret).now(), "cookie": True}
    assert ada.send("POST", "enrolment/confirmation", json=body, headers={**SITE, **first}).status_code == 200
    assert ada.send("GET", "session", headers={**SITE, **first}).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("session/password", {"password": WORDS, "new": "another-tidal-gravel-plinth"}),
        ("session/totp", None),
        ("session/totp/confirmation", {"code": "000000"}),
        ("session/recovery-codes", None),
    ],
)
def test_ones_own_factors_want_a_fresh_second_factor(
    app: Any, casemate: Casemate, services: Services, path: str, body: dict[str, str] | None
) -> None:
    eve = Person(app, casemate, "eve-" + path.replace("/", "-"), "caller")
    stale(services, eve)
    answer = eve.ask("POST", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "step-up-required")


def test_a_cookie_counts_for_a_change_only_with_its_token_and_from_its_own_site(ada: Person) -> None:
    answer = ada.sign_in(cookie=True, device=ada.device)
    assert "token" not in answer.json()
    cookies = {part.partition("=")[0]: part for part in answer.headers.get_list("set-cookie")}
    said = cookies["__Host-casemate"]
    assert all(word in said for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    assert "Domain" not in said
    cookie = {"cookie": said.partition(";")[0]}
    csrf = {"x-csrf-token": answer.json()["csrf"]}
    assert ada.send("GET", "session", headers={**cookie, **SITE}).json()["session"]["csrf"] == answer.json()["csrf"]
    asked = {"name": "by-page", "role": "caller", "expires": "1h"}
    refused = [
        cookie,
        {**cookie, **SITE},
        {**cookie, **csrf},
        {**cookie, **SITE, "x-csrf-token": "0" * 64},
        {**cookie, **SITE, **csrf, "sec-fetch-site": "cross-site"},
        {**cookie, **SITE, **csrf, "sec-fetch-site": "same-site"},
        {**cookie, **SITE, **csrf, "origin": "https://evil.example"},
        {**cookie, **SITE, **csrf, "origin": "null"},
    ]
    for headers in refused:
        told = ada.send("POST", "keys", params=asked, headers=headers)
        assert (told.status_code, told.json()["code"]) == (401, "cross-site"), headers
    assert ada.send("GET", "session", headers={**cookie, "sec-fetch-site": "cross-site"}).status_code == 401
    assert ada.send("POST", "keys", params=asked, headers={**cookie, **SITE, **csrf}).status_code == 200
    out = ada.send("DELETE", "session", headers={**cookie, **SITE, **csrf})
    assert '__Host-casemate=""' in out.headers["set-cookie"]
    assert ada.send("GET", "session", headers={**cookie, **SITE}).status_code == 401


def test_no_other_site_signs_a_browser_in(ada: Person) -> None:
    body = {"name": "ada", "password": WORDS, "code": ada.recovery[0], "cookie": True}
    for headers in ({}, {**SITE, "sec-fetch-site": "cross-site"}, {**SITE, "origin": "https://evil.example"}):
        answer = ada.send("POST", "session", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "cross-site")
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "content", [b'{"name": "a\\ud800", "password": "\\ud800", "code": "\\ud800"}', b"\xff", b"[" * 5000, b""]
)
def test_bytes_that_are_no_sign_in_get_one_sentence(ada: Person, content: bytes) -> None:
    answer = ada.send("POST", "session", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 401), answer.text


def test_a_delay_and_a_full_address_are_on_record(app, ada: Person, casemate: Casemate) -> None:
    body = {"name": "ada", "password": "wrong-wrong-wrong", "code": "000000"}
    for _ in range(6):
        ada.send("POST", "session", json=body, address="203.0.115.1")
    found = casemate.audit_entries(kind="sign-in", limit=20)
    assert {one["reason"] for one in found if one["facts"]["address"] == "203.0.115.1"} >= {"bad-sign-in"}


def test_an_owner_resets_and_revokes_at_once(app, casemate: Casemate) -> None:
    bob = Person(app, casemate, "bob", "auditor")
    assert bob.ask("GET", "users").status_code == 200
    assert bob.ask("POST", "users", params={"name": "x", "role": "caller"}).status_code == 403
    casemate.people.sign_out("bob", reason="test")
    assert bob.ask("GET", "users").status_code == 401
    again = casemate.people.reset("bob", reason="lost the phone")
    assert bob.sign_in().status_code == 401
    bob.invitation = again["invitation"]
    bob.enrol()
    assert bob.ask("GET", "users").status_code == 200
    shown = casemate.people.show("bob")
    assert (shown["state"], shown["recovery_codes"], shown["roles"]) == ("active", 10, ["auditor"])
    casemate.people.revoke("bob", reason="left")
    assert bob.ask("GET", "users").status_code == 401
    assert casemate.people.show(bob.id)["state"] == "revoked"
    assert bob.sign_in().json()["code"] == "bad-sign-in"


def test_a_person_invites_nobody_beyond_their_own_grant(app, casemate: Casemate) -> None:
    short = Person(app, casemate, "short", "owner", life="1h")
    answer = short.ask("POST", "users", params={"name": "long", "role": "caller", "life": "2h"})
    assert answer.status_code == 403
    assert "outlive" in answer.json()["detail"]
    assert short.ask("POST", "users", params={"name": "brief", "role": "caller", "life": "10m"}).status_code == 200


def test_no_other_site_begins_a_sign_in_through_a_provider(ada: Person) -> None:
    """A provider often asks nothing of who is signed in there, so a link elsewhere would sign a browser in here."""
    path, elsewhere = "session/provider/corp", {"sec-fetch-site": "cross-site"}
    answer = ada.send("GET", path, headers=elsewhere)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), "where the person decides"
    command = {"challenge": "c" * 43, "port": "4000"}
    assert ada.send("GET", path, headers=elsewhere, params=command).json()["code"] == "cross-site"
    for own in ({"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}, {}):
        assert ada.send("GET", path, headers=own).status_code == 404  # there is no provider


def test_a_person_becomes_nobody_who_lasts_longer_than_they_do(app, ada: Person, casemate: Casemate) -> None:
    """Whoever resets somebody, or chooses their subject at a provider, can be them; and a mapping gives a role."""
    fleeting = Person(app, casemate, "fleeting", "owner", life="1h")
    assert fleeting.ask("POST", "users", params={"name": "guest", "role": "caller", "life": "10m"}).status_code == 200
    mapped = {"group": "all", "role": "owner", "on": "*"}
    for user, life, statuses in (("ada", "2h", {403}), ("guest", "10m", {200, 404})):  # 404: there is no provider
        for path, query in (
            (f"users/{user}/reset", {"reason": "x"}),
            ("providers/corp/subjects", {"user": user, "subject": "s"}),
            ("providers/corp/groups", {**mapped, "life": life}),
        ):
            answer = fleeting.ask("POST", path, params=query)
            assert answer.status_code in statuses, (path, answer.text)
            assert ("outlive" in answer.json().get("detail", "")) == (user == "ada")
    assert ada.ask("GET", "session").status_code == 200


def test_a_person_asks_for_a_role_and_is_lent_it(app, casemate: Casemate, services: Services) -> None:
    eve = Person(app, casemate, "eve", "caller")
    assert eve.ask("GET", "audit/entries").status_code == 403
    query = {"role": "auditor", "on": "*", "life": "10m", "reason": "the yearly audit"}
    asked = eve.ask("POST", "grants", params=query)
    assert asked.status_code == 200, asked.text
    assert services.access.snapshot.requests[asked.json()["id"]].credential.startswith("ses_")
    casemate.grants.approve(asked.json()["id"], reason="go ahead")
    assert eve.ask("GET", "audit/entries").status_code == 200


def test_no_secret_is_in_the_audit_log(casemate: Casemate, ada: Person, services: Services) -> None:
    text = b"\n".join(services.log.bodies()).decode()
    for secret in (WORDS, ada.token, ada.secret, ada.invitation, ada.device, *ada.recovery):
        assert secret not in text


def test_people_are_in_the_report_and_can_be_asked_about(casemate: Casemate, ada: Person) -> None:
    (row,) = [row for row in casemate.access_report() if row["principal"] == ada.id]
    assert (row["name"], row["kind"], row["role"], row["state"]) == ("ada", "user", "owner", "active")
    assert row["last_used"] is not None
    said = casemate.explain_access("ada", "model:read", "model")
    assert said["allowed"]


@pytest.mark.only("sqlite")  # it opens a second keeper, which PostgreSQL refuses; what keepers give is the same on both
def test_the_gateways_keeper_gives_no_people_key(settings, services: Services) -> None:
    home = open_home(settings.home)
    keeper = LocalKeeper(settings, home)
    ground = open_ground(settings, keeper, read_only=True)
    methods = gateway_methods(keeper, ground.stores, home)
    with pytest.raises(PolicyError):
        methods["keys.unwrap"]((home.path / PEOPLE_KEY).read_bytes(), key_context(home.id, PEOPLE_KEY))
    ground.engine.dispose()
