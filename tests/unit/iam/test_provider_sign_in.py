"""Sign-in through a provider that may be hostile: each lie is refused, and what it may say decides what it should."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pyotp
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from iam_house import OWNER
from people_house import HERE, PeopleHouse, people_house
from token_makers import Signer, unsigned, with_shared_secret

from casemate.core import Action, AuthError, CasemateError, InputError, Resource, Secret, StepUpError, UpstreamError
from casemate.iam import CommandLine
from casemate.iam.people import reset_person, revoke_person
from casemate.iam.providers.administration import (
    add_provider,
    find_provider,
    link_subject,
    map_group,
    provider_record,
    revoke_provider,
)
from casemate.iam.providers.client import ProviderClient
from casemate.iam.providers.records import entry_of
from casemate.iam.providers.sign_in import ProviderSignIn

ISSUER = "https://idp.example"
VERIFIER = "v" * 43


class Idp:
    """A provider, as its operator or an attacker has it: what it answers can be changed before each step."""

    def __init__(self, house: PeopleHouse, issuer: str = ISSUER) -> None:
        self.house, self.issuer, self.signer = house, issuer, Signer("ES256")
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "248289761001", "groups": ["ml-team"], "preferred_username": "Ada L."}
        self.discovery: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.header: dict[str, Any] = {}
        self.token: str | None = None
        self.jwks_asked = 0

    def answer(self, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        path = urlsplit(url).path
        if path.endswith("openid-configuration"):
            places = {f"{one}_endpoint": f"{self.issuer}/{one}" for one in ("authorization", "token", "userinfo")}
            found = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **places, **self.discovery}
            return 200, json.dumps(found).encode()
        if path == "/jwks":
            self.jwks_asked += 1
            return 200, self.signer.jwks()
        if path == "/userinfo":
            assert headers["Authorization"] == "Bearer at-1"
            return 200, json.dumps(self.userinfo).encode()
        asked = {name: values[0] for name, values in parse_qs((body or b"").decode()).items()}
        began = self.codes.pop(asked["code"], None)
        if began is None or create_s256_code_challenge(asked["code_verifier"]) != began["code_challenge"]:
            return 400, b'{"error": "invalid_grant"}'
        token = self.token or self.signer.sign(self.said(began), **self.header)
        return 200, json.dumps({"id_token": token, "access_token": "at-1", "token_type": "Bearer"}).encode()

    def said(self, began: dict[str, str]) -> dict[str, Any]:
        now = int(self.house.clock.at.timestamp())
        half = base64.urlsafe_b64encode(hashlib.sha256(b"at-1").digest()[:16]).rstrip(b"=").decode()
        whole = {"iss": self.issuer, "sub": "248289761001", "aud": "casemate", "nonce": began["nonce"], "iat": now}
        whole |= {"exp": now + 300, "auth_time": now, "amr": ["pwd", "mfa"], "at_hash": half} | self.claims
        return {name: value for name, value in whole.items() if value is not None}

    def authorize(self, url: str) -> dict[str, str]:
        """The query with which the browser comes back."""
        began = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{len(self.codes)}-{began['state'][:8]}"
        self.codes[code] = began
        return {"code": code, "state": began["state"], "iss": self.issuer}


class Site:
    """The control plane's part, with one provider on record and a group of it mapped."""

    def __init__(self, house: PeopleHouse) -> None:
        self.house, self.idp = house, Idp(house)
        self.idps = {ISSUER: self.idp}
        self.huge = False
        client = ProviderClient(ask=self.ask, secret_of=lambda _: Secret("s" * 30), clock=house.clock)
        self.providers = ProviderSignIn(house.sign_in, client, public_url="https://casemate.example:8444")
        self.add("corp", ISSUER)
        self.mapping = self.map("ml-team")

    def ask(self, url: str, *, ca: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        del ca
        parts = urlsplit(url)
        return self.idps[f"https://{parts.netloc}"].answer(url, headers, body)

    def add(self, name: str, issuer: str, **more: Any) -> None:
        made = provider_record(
            name,
            issuer=issuer,
            client_id="casemate",
            secret="env://OIDC_SECRET",
            by=OWNER,
            now=self.house.clock.at,
            **more,
        )
        self.house.append(add_provider(self.house.access, made))

    def map(self, group: str, role: str = "operator", life: timedelta = timedelta(days=90)) -> str:
        made = map_group(
            self.house.access,
            "corp",
            group,
            role=role,
            scope="*",
            environment=None,
            by=OWNER,
            reason="",
            now=self.house.clock.at,
            until=self.house.clock.at + life,
        )
        self.house.append([entry_of(made)])
        return made.id

    def come(self, name: str = "corp", **begin: Any) -> Any:
        begun = self.providers.begin(name, **begin)
        return self.providers.finish(name, self.idp.authorize(begun.url), begun.browser, HERE)

    def principal(self, **begin: Any) -> Any:
        return self.house.who(self.come(**begin).signed_in.started.token)

    def may(self, principal: Any, action: Action = Action.DEPLOYMENT_READ) -> bool:
        return self.house.authorizer.decide(principal, action, Resource(action.partition(":")[0], "risk")).allowed


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with people_house(tmp_path) as house:
        yield Site(house)


def test_a_person_is_made_at_first_sign_in_and_is_the_same_at_the_next(site: Site) -> None:
    first = site.principal()
    assert (first.name, site.may(first), site.may(first, Action.AUDIT_READ)) == ("ada-l", True, False)
    assert site.house.authorizer.is_fresh(first)
    assert site.principal().id == first.id
    row = site.house.access.brought(first)[0]
    assert (row.id, row.role, row.expires_at) == (site.mapping, "operator", first.brought_until)


def test_nobody_comes_in_by_a_name_that_is_somebody_elses(site: Site) -> None:
    ada = site.house.enrol("ada-l")
    stranger = site.principal()
    assert stranger.id != ada.id
    assert stranger.name.startswith("ada-l-")


def test_an_invited_person_is_bound_by_an_owner_and_keeps_own_grants(site: Site) -> None:
    ada = site.house.invite("ada", "auditor")
    link = link_subject(site.house.access, "corp", "ada", "248289761001", by=OWNER, now=site.house.clock.at)
    site.house.append([entry_of(link)])
    found = site.principal()
    assert found.id == ada.person
    assert site.may(found, Action.AUDIT_READ)
    assert site.may(found)
    site.idp.userinfo["groups"] = []
    assert not site.principal().brought  # their own grant lets them in, and no more than that


def test_a_group_that_is_lost_gives_nothing_at_the_next_sign_in(site: Site) -> None:
    site.principal()
    site.idp.userinfo["groups"] = ["guests"]
    refused(site, "no-role")


def test_no_group_no_person(site: Site) -> None:
    before = len(site.house.access.snapshot.people)
    for groups in (["guests"], [], None, {"ml-team": 1}, "ML-TEAM", ["ml-team "]):
        site.idp.userinfo["groups"] = groups
        refused(site, "no-role")
    assert len(site.house.access.snapshot.people) == before


def test_revoking_a_mapping_ends_the_role_and_revoking_the_provider_the_session(site: Site) -> None:
    started = site.come().signed_in.started
    site.house.append(revoke_provider(site.house.access, site.mapping, by=OWNER, reason="", now=site.house.clock.at)[1])
    assert not site.may(site.house.who(started.token))
    site.house.append(revoke_provider(site.house.access, "corp", by=OWNER, reason="", now=site.house.clock.at)[1])
    with pytest.raises(AuthError, match="ended"):
        site.house.who(started.token)


def test_who_was_revoked_or_reset_does_not_come_back_by_the_provider(site: Site) -> None:
    found, now = site.principal(), site.house.clock.at
    site.house.append(reset_person(site.house.access, found.id, by=OWNER, reason="", now=now).entries)
    refused(site, "person-ended")
    site.house.append(revoke_person(site.house.access, found.id, by=OWNER, reason="", now=now))
    refused(site, "person-ended")


def refused(site: Site, code: str, **begin: Any) -> None:
    with pytest.raises(CasemateError) as error:
        site.come(**begin)
    assert error.value.code == code, error.value.message
    assert "s" * 30 not in error.value.message


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"nonce": "another"}, "provider-refused"),
        ({"nonce": None}, "provider-refused"),
        ({"iss": "https://evil.example"}, "provider-refused"),
        ({"iss": None}, "provider-refused"),
        ({"aud": "another"}, "provider-refused"),
        ({"aud": ["casemate", "another"]}, "provider-refused"),  # without azp
        ({"azp": "another"}, "provider-refused"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "provider-refused"),
        ({"exp": 1}, "expired-token"),
        ({"iat": 4102444800, "exp": 4102444900}, "early-token"),
        ({"iat": None}, "bad-token"),
        ({"sub": None}, "provider-refused"),
        ({"sub": "ada\u00e9"}, "provider-refused"),
        ({"amr": ["pwd"]}, "no-second-factor"),
        ({"amr": None}, "no-second-factor"),
        ({"amr": "mfa"}, "provider-refused"),
    ],
)
def test_an_id_token_that_says_something_else_is_refused(site: Site, claims: dict[str, Any], code: str) -> None:
    site.idp.claims = claims
    refused(site, code)


def test_none_shared_secrets_foreign_keys_and_keys_that_tokens_bring_are_refused(site: Site) -> None:
    began = {"nonce": "n"}
    for forged in (
        unsigned(site.idp.said(began)),
        with_shared_secret(site.idp.said(began), site.idp.signer.jwks(), "k1"),
    ):
        site.idp.token = forged
        refused(site, "bad-token")
    site.idp.token = None
    site.idp.header = {"jwk": site.idp.signer.public()}
    refused(site, "bad-token")
    site.idp.header = {"kid": "../../keys"}
    refused(site, "bad-token")
    site.idp.header, site.idp.token = {}, Signer("ES256").sign(site.idp.said(began))
    refused(site, "bad-token")


def test_an_unknown_key_is_looked_for_once_in_half_a_minute_and_a_rotated_one_found(site: Site) -> None:
    site.principal()
    site.idp.signer = Signer("ES256", kid="k2")
    refused(site, "bad-token")
    refused(site, "bad-token")
    assert site.idp.jwks_asked == 1
    site.house.clock.advance(31)
    site.principal()
    assert site.idp.jwks_asked == 2


def test_state_counts_once_and_in_its_browser_alone(site: Site) -> None:
    begun = site.providers.begin("corp")
    query = site.idp.authorize(begun.url)
    for other in ("", "x" * 43, site.providers.begin("corp").browser):
        with pytest.raises(AuthError) as error:
            site.providers.finish("corp", query, other, HERE)
        assert error.value.code == "bad-state"
    assert site.providers.finish("corp", query, begun.browser, HERE).signed_in
    with pytest.raises(AuthError):
        site.providers.finish("corp", query, begun.browser, HERE)
    late = site.providers.begin("corp")
    site.house.clock.advance(601)
    with pytest.raises(AuthError):
        site.providers.finish("corp", site.idp.authorize(late.url), late.browser, HERE)


def test_a_code_of_another_sign_in_is_refused(site: Site) -> None:
    mine, stolen = site.providers.begin("corp"), site.idp.authorize(site.providers.begin("corp").url)
    query = site.idp.authorize(mine.url) | {"code": stolen["code"]}
    with pytest.raises(AuthError, match="did not take the code"):
        site.providers.finish("corp", query, mine.browser, HERE)


def test_two_providers_are_not_mixed_up(site: Site) -> None:
    evil = site.idps["https://evil.example"] = Idp(site.house, "https://evil.example")
    site.add("evil", "https://evil.example")
    begun = site.providers.begin("evil")
    query = evil.authorize(begun.url)
    with pytest.raises(AuthError):
        site.providers.finish("corp", query, begun.browser, HERE)
    begun = site.providers.begin("corp")
    with pytest.raises(AuthError, match="another provider"):
        site.providers.finish(
            "corp", site.idp.authorize(begun.url) | {"iss": "https://evil.example"}, begun.browser, HERE
        )
    site.idp.discovery = {"authorization_response_iss_parameter_supported": True}
    site.house.clock.advance(3601)
    begun = site.providers.begin("corp")
    bare = {name: value for name, value in site.idp.authorize(begun.url).items() if name != "iss"}
    with pytest.raises(AuthError, match="another provider"):
        site.providers.finish("corp", bare, begun.browser, HERE)


def test_user_info_of_somebody_else_is_refused(site: Site) -> None:
    site.idp.userinfo["sub"] = "other"
    refused(site, "provider-refused")


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://idp.example/"},
        {"token_endpoint": "http://idp.example/token"},
        {"jwks_uri": None},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_discovery_document_that_does_not_fit_is_refused(site: Site, wrong: dict[str, Any]) -> None:
    site.idp.discovery = wrong
    refused(site, "bad-discovery")


def test_what_the_browser_is_sent_with(site: Site) -> None:
    query = parse_qs(urlsplit(site.providers.begin("corp").url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["max_age"] == ["43200"]
    assert query["redirect_uri"] == ["https://casemate.example:8444/api/v1/session/provider/corp/callback"]
    assert len(query["state"][0]) == len(query["nonce"][0]) == 43


def test_an_own_second_factor_stands_in_and_counts_once(site: Site) -> None:
    ada = site.house.enrol("ada")
    link = link_subject(site.house.access, "corp", "ada", "248289761001", by=OWNER, now=site.house.clock.at)
    site.house.append([entry_of(link)])
    site.idp.claims = {"amr": ["pwd"]}
    begun = site.providers.begin("corp")
    found = site.providers.finish("corp", site.idp.authorize(begun.url), begun.browser, HERE)
    assert found.signed_in is None

    def redeem(code: str, proof: str = begun.browser) -> Any:
        return site.providers.redeem(found.ticket, proof, code, HERE, by_command=False)

    for code, proof, why in (
        ("", begun.browser, "second-factor-wanted"),
        ("000000", begun.browser, "bad-code"),
        ("", "x" * 43, "bad-ticket"),
    ):
        with pytest.raises(AuthError) as error:
            redeem(code, proof)
        assert error.value.code == why
    code = pyotp.TOTP(ada.secret).at(site.house.clock.at)
    assert site.house.who(redeem(code).started.token).id == ada.id
    with pytest.raises(AuthError):
        redeem(code)


def test_a_command_line_fetches_its_session_with_the_verifier_that_it_alone_has(site: Site) -> None:
    command = CommandLine(challenge=create_s256_code_challenge(VERIFIER), port=40000)
    found = site.come(command=command)
    assert found.signed_in is None
    assert found.command == command
    for proof in ("w" * 43, command.challenge, ""):
        with pytest.raises(AuthError):
            site.providers.redeem(found.ticket, proof, "", HERE, by_command=True)
    assert site.providers.redeem(found.ticket, VERIFIER, "", HERE, by_command=True)
    with pytest.raises(AuthError):
        site.providers.redeem(found.ticket, VERIFIER, "", HERE, by_command=True)
    with pytest.raises(InputError):
        site.providers.begin("corp", command=CommandLine(challenge="x", port=80))


def test_an_old_sign_in_at_the_provider_is_not_fresh_here_and_a_new_one_is(site: Site) -> None:
    site.map("ml-team", "owner")
    old = int((site.house.clock.at - timedelta(hours=3)).timestamp())
    for claim in ({"auth_time": old}, {"auth_time": None}):
        site.idp.claims = claim
        principal = site.principal()
        with pytest.raises(StepUpError):
            site.house.authorizer.authorize(principal, Action.USER_RESET, Resource("user", "x"))
    for claim in ({"auth_time": old}, {"amr": ["pwd"]}):
        site.idp.claims = claim
        with pytest.raises(AuthError):
            site.come(renewing=principal)
    site.idp.claims = {}
    renewed = site.house.who(site.come(renewing=principal).renewed.token)
    assert renewed.credential == principal.credential
    assert site.house.authorizer.is_fresh(renewed)
    assert renewed.brought == principal.brought


def test_the_session_that_the_browser_had_ends_with_a_new_one_and_with_nothing_less(site: Site) -> None:
    before = site.principal()
    begun = site.providers.begin("corp", had=before)
    site.idp.claims = {"amr": ["pwd"]}
    with pytest.raises(AuthError):  # no second factor: nobody is signed in, so nobody is signed out
        site.providers.finish("corp", site.idp.authorize(begun.url), begun.browser, HERE)
    assert before.credential in {one.id for one in site.house.sessions.of(before.id, now=site.house.clock.at)}
    site.idp.claims = {}
    after = site.principal(had=before)
    assert {one.id for one in site.house.sessions.of(before.id, now=site.house.clock.at)} == {after.credential}


def test_a_mapping_ends_by_itself_during_a_session_too(site: Site) -> None:
    site.idp.userinfo["groups"] = ["guests"]
    site.map("guests", life=timedelta(minutes=10))
    principal = site.principal()
    site.house.clock.advance(599)
    assert site.may(principal)
    site.house.clock.advance(1)
    assert not site.may(principal), "at the exact instant"
    with pytest.raises(AuthError) as refused:
        site.principal()
    assert refused.value.code == "no-role"


def test_acr_is_asked_for_and_looked_at(site: Site) -> None:
    evil = site.idps["https://strong.example"] = Idp(site.house, "https://strong.example")
    site.add("strong", "https://strong.example", acr=["urn:mfa"])
    assert find_provider(site.house.access, "strong").amr == ()
    begun = site.providers.begin("strong")
    assert parse_qs(urlsplit(begun.url).query)["acr_values"] == ["urn:mfa"]
    evil.claims = {"acr": "urn:password"}
    with pytest.raises(CasemateError):
        site.providers.finish("strong", evil.authorize(begun.url), begun.browser, HERE)


@pytest.mark.parametrize(
    "secret",
    ["hunter2-hunter2", "env://DATABASE_PASSWORD", "vault://kv/casemate/database#password", "file:///a/../../etc/x"],
)
def test_an_owner_cannot_have_other_secrets_of_the_server_told(site: Site, secret: str) -> None:
    with pytest.raises(InputError) as error:
        provider_record("x", issuer=ISSUER, client_id="c", secret=secret, by=OWNER, now=site.house.clock.at)
    assert secret not in error.value.message


def test_who_chose_the_provider_is_no_second_person_beside_its_people(site: Site) -> None:
    assert site.house.access.descends(site.principal().id, OWNER.id)


def test_a_provider_that_fails_is_asked_again_after_half_a_minute_only(site: Site) -> None:
    asked = []

    def fail(url: str, **_: Any) -> Any:
        asked.append(url)
        raise UpstreamError("The provider cannot be reached.", code="provider-unreachable")

    client = ProviderClient(ask=fail, secret_of=lambda _: Secret("s"), clock=site.house.clock)
    providers = ProviderSignIn(site.house.sign_in, client, public_url="https://casemate.example")
    for _ in range(3):
        with pytest.raises(UpstreamError):
            providers.begin("corp")
    assert len(asked) == 1
    assert msgspec.json.encode(providers.public()) == b'[{"name":"corp","display":"corp"}]'
