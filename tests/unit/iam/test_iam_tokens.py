"""Tokens of outside issuers: what counts, and every known way to make one that should not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from iam_house import OWNER, House
from token_makers import (
    AUDIENCE,
    ISSUER,
    Signer,
    claims,
    github_claims,
    part,
    unsigned,
    with_shared_secret,
)

from casemate.core import Action, AuthError, InputError, Principal, Resource
from casemate.iam import Authorizer, key_request
from casemate.iam.tokens.bindings import bind, list_bindings, token_binding
from casemate.iam.tokens.issuers import add_issuer, find_issuer, issuer_request, record_keys, revoke
from casemate.iam.tokens.jwks import read_jwks
from casemate.iam.tokens.verifier import TokenVerifier


class Place(House):
    """A house that knows one issuer, and one service bound to what its tokens say."""

    def __init__(self, algorithm: str = "ES256", kind: str = "generic", patterns: dict[str, str] | None = None) -> None:
        super().__init__()
        self.spent: dict[str, int] = {}
        self.signer = Signer(algorithm)
        self.verifier = TokenVerifier(spend=self.spend)
        self.authorizer = Authorizer(
            access=self.access, policies=self.authorizer.policies, clock=self.clock, tokens=self.verifier
        )
        self.add("idp", self.signer, kind)
        self.binding = self.bind(patterns or {"sub": "robot-7"})

    def spend(self, name: str, until: int) -> None:
        if name in self.spent:
            raise AuthError("used", code="token-replayed")
        self.spent[name] = until

    def add(self, name: str, signer: Signer, kind: str = "generic", audience: str = AUDIENCE, issuer: str = "") -> None:
        issuer = issuer or (ISSUER if kind in ("generic", "kubernetes") else "")
        request = issuer_request(
            name, kind=kind, issuer=issuer, audience=audience, algorithms=[signer.algorithm], source=""
        )
        keys = read_jwks(signer.jwks(), request.algorithms)
        self.append(add_issuer(self.access, request, keys, by=OWNER, now=self.clock.at))

    def bind(self, patterns: dict[str, str], *, life: float = 3600, role: str = "caller", issuer: str = "idp") -> str:
        request = key_request("robot", role=role, scope="*", now=self.clock.at, life=life)
        made = bind(request, token_binding(self.access, issuer, patterns), by=OWNER, reason="test")
        self.append(made.entries)
        return made.id

    def claims(self, **more: Any) -> dict[str, Any]:
        return claims(self.clock.at, **more)

    def ask(self, token: str) -> Principal:
        return self.authorizer.authenticate(token)

    def refused(self, token: str) -> str:
        with pytest.raises(AuthError) as caught:
            self.ask(token)
        assert token not in caught.value.message
        return caught.value.code


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "Ed25519"])
def test_a_token_proves_the_service_that_it_is_bound_to(algorithm: str) -> None:
    place = Place(algorithm)
    found = place.ask(place.signer.sign(place.claims()))
    assert (found.credential, found.name) == (place.binding, "robot")
    assert place.authorizer.decide(found, Action.DEPLOYMENT_PREDICT, Resource("deployment", "x")).allowed


@pytest.mark.parametrize("kind", [None, "JWT", "at+jwt", "application/at+jwt"])
def test_the_usual_types_of_token_are_read(place: Place, kind: str | None) -> None:
    assert place.ask(place.signer.sign(place.claims(), typ=kind)).credential == place.binding


def test_an_unsigned_token_is_refused(place: Place) -> None:
    for name in ("none", "None", "NONE", "nOnE", ""):
        assert place.refused(unsigned(place.claims(), name)) == "bad-token"
        assert place.refused(unsigned(place.claims(), name, "AAAA")) == "bad-token"


def test_a_public_key_is_never_taken_for_a_shared_secret() -> None:
    place = Place("RS256")
    public = place.signer.key
    for secret in (public.as_pem(private=False), public.as_der(private=False), place.signer.jwks(), b""):
        assert place.refused(with_shared_secret(place.claims(), secret, "k1")) == "bad-token"


def test_an_algorithm_of_another_type_of_key_is_refused(place: Place) -> None:
    other = Signer("RS256", kid="k1")
    assert place.refused(other.sign(place.claims())) == "bad-token"
    honest = place.signer.sign(place.claims())
    head = part({"alg": "RS256", "kid": "k1"})
    assert place.refused(".".join([head, *honest.split(".")[1:]])) == "bad-token"


def test_an_algorithm_that_the_issuer_was_not_added_with_is_refused() -> None:
    place = Place("RS256")
    place.signer.algorithm = "PS256"
    assert place.refused(place.signer.sign(place.claims())) == "bad-token"


@pytest.mark.parametrize(
    "kid", ["k2", "", "../../../../dev/null", "k1' OR '1'='1", "k1\x00", "/proc/self/environ", "k" * 201]
)
def test_the_name_of_a_key_finds_recorded_keys_only(place: Place, kid: str) -> None:
    assert place.refused(place.signer.sign(place.claims(), kid=kid)) == "bad-token"


@pytest.mark.parametrize("kid", [1, ["k1"], {"k1": 1}, True])
def test_the_name_of_a_key_is_a_text(place: Place, kid: object) -> None:
    token = place.signer.raw(part({"alg": "ES256", "kid": kid}), part(place.claims()))
    assert place.refused(token) == "bad-token"


def test_a_key_that_the_token_brings_along_is_refused(place: Place) -> None:
    attacker = Signer("ES256", kid="evil")
    for header in (
        {"jwk": attacker.public()},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        for signer in (attacker, place.signer):
            head = part({"alg": "ES256", "kid": "k1", **header})
            assert place.refused(signer.raw(head, part(place.claims()))) == "bad-token"


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"zip": "DEF"}, {"cty": "JWT"}])
def test_a_header_that_would_change_how_it_is_read_is_refused(place: Place, header: dict) -> None:
    head = part({"alg": "ES256", "kid": "k1", **header})
    assert place.refused(place.signer.raw(head, part(place.claims()))) == "bad-token"


@pytest.mark.parametrize("kind", ["dpop+jwt", "logout+jwt", "secevent+jwt", "kb+jwt"])
def test_a_token_of_another_purpose_is_refused(place: Place, kind: str) -> None:
    assert place.refused(place.signer.sign(place.claims(), typ=kind)) == "bad-token"


def test_an_expired_token_is_refused_at_the_instant_after_the_leeway(place: Place) -> None:
    token = place.signer.sign(place.claims(life=60))
    place.clock.advance(89)
    assert place.ask(token)
    place.clock.advance(1)
    assert place.refused(token) == "expired-token"
    place.clock.advance(-3000)
    assert place.refused(token) == "expired-token", "a clock that goes backwards revives nothing"


def test_a_token_that_is_not_valid_yet_is_refused(place: Place) -> None:
    at = int(place.clock.at.timestamp())
    assert place.ask(place.signer.sign(place.claims(nbf=at + 29)))
    assert place.refused(place.signer.sign(place.claims(nbf=at + 31))) == "early-token"
    assert place.refused(place.signer.sign(place.claims(iat=at + 31, exp=at + 90))) == "early-token"


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "aud", "iss"])
def test_what_must_be_there_is_asked_for(place: Place, name: str) -> None:
    assert place.refused(place.signer.sign(place.claims(**{name: None}))) in (
        "bad-token", "wrong-audience", "unbound-token"
    )  # fmt: skip


@pytest.mark.parametrize("value", ["soon", True, -1, 1 << 41, [1], "Infinity"])
def test_a_time_is_a_number(place: Place, value: object) -> None:
    assert place.refused(place.signer.sign(place.claims(exp=value))) == "bad-token"


def test_not_a_number_is_no_time(place: Place) -> None:
    text = json.dumps(place.claims(exp=float("nan")))
    assert "NaN" in text
    assert place.refused(place.signer.raw(part({"alg": "ES256", "kid": "k1"}), part(text))) == "bad-token"


def test_a_token_that_lives_for_long_is_a_password(place: Place) -> None:
    assert place.refused(place.signer.sign(place.claims(life=86401))) == "bad-token"


@pytest.mark.parametrize(
    "audience", ["other", "Casemate", "casemate ", [], ["casemate", "other"], ["other"], {"casemate": 1}, 7]
)
def test_the_audience_is_exactly_ours(place: Place, audience: object) -> None:
    assert place.refused(place.signer.sign(place.claims(aud=audience))) == "wrong-audience"


def test_an_audience_in_a_list_of_one_is_ours(place: Place) -> None:
    assert place.ask(place.signer.sign(place.claims(aud=[AUDIENCE])))


@pytest.mark.parametrize("issuer", ["https://idp.example/", "https://IDP.example", "http://idp.example", "", None, 7])
def test_the_issuer_is_exactly_the_one_on_record(place: Place, issuer: object) -> None:
    assert place.refused(place.signer.sign(place.claims(iss=issuer))) == "bad-token"


def test_a_key_of_one_issuer_proves_nothing_of_another(place: Place) -> None:
    other = Signer("ES256", kid="k1")
    place.add("other", other, issuer="https://other.example")
    place.bind({"sub": "robot-7"}, issuer="other")
    assert place.refused(other.sign(place.claims())) == "bad-token"
    assert place.refused(place.signer.sign(place.claims(iss="https://other.example"))) == "bad-token"


def test_json_with_two_meanings_is_refused(place: Place) -> None:
    text = json.dumps(place.claims(sub="nobody"))
    doubled = text[:-1] + ', "sub": "robot-7"}'
    head = part({"alg": "ES256", "kid": "k1"})
    assert place.refused(place.signer.raw(head, part(doubled))) == "bad-token"
    twice = '{"alg":"none","alg":"ES256","kid":"k1"}'
    assert place.refused(place.signer.raw(part(twice), part(place.claims()))) == "bad-token"


def test_an_oversized_token_is_refused_before_it_is_read(place: Place) -> None:
    assert place.refused(place.signer.sign(place.claims(padding="x" * 9000))) == "bad-token"
    assert place.refused("." * 2) == "bad-token"
    assert place.refused("a" * 100_000 + "..") == "bad-token"


def test_every_flipped_character_is_refused(place: Place) -> None:
    token = place.signer.sign(place.claims())
    for at in range(0, len(token), 7):
        flipped = "A" if token[at] != "A" else "B"
        with pytest.raises(AuthError):
            place.ask(token[:at] + flipped + token[at + 1 :])


@pytest.mark.parametrize("tail", ["=", "\n", " ", ".x", "%00", "\x00", "é"])
def test_what_hangs_on_to_a_token_is_refused(place: Place, tail: str) -> None:
    token = place.signer.sign(place.claims())
    assert place.refused(token + tail) in ("bad-token", "bad-credential")


def test_a_subject_that_nobody_bound_is_nobody(place: Place) -> None:
    for subject in ("robot-8", "Robot-7", "robot-7 ", "robot-77"):
        assert place.refused(place.signer.sign(place.claims(sub=subject))) == "unbound-token"


# What ends a token --------------------------------------------------------------------------------------------------


def test_a_revocation_wins_over_what_was_verified_before(place: Place) -> None:
    token = place.signer.sign(place.claims())
    assert place.ask(token)
    assert len(place.verifier) == 1
    place.append(revoke(place.access, place.binding, by=OWNER, reason="left", now=place.clock.at)[1])
    assert place.refused(token) == "revoked-credential"


def test_an_issuer_that_is_revoked_takes_its_tokens_with_it(place: Place) -> None:
    token = place.signer.sign(place.claims())
    found = place.ask(token)
    place.append(revoke(place.access, "idp", by=OWNER, reason="left", now=place.clock.at)[1])
    assert place.refused(token) == "revoked-credential"
    assert place.refused(place.signer.sign(place.claims(jti="new"))) == "bad-token"
    assert not place.authorizer.decide(found, Action.DEPLOYMENT_PREDICT, Resource("deployment", "x")).allowed


def test_keys_that_are_replaced_count_no_more_nor_does_what_they_signed(place: Place) -> None:
    token = place.signer.sign(place.claims())
    assert place.ask(token)
    new = Signer("ES256", kid="k1")
    keys = read_jwks(new.jwks(), ["ES256"])
    place.append(record_keys(find_issuer(place.access, "idp"), keys, by=OWNER, now=place.clock.at))
    assert place.refused(token) == "bad-token"
    assert place.ask(new.sign(place.claims()))


def test_a_binding_ends_at_its_instant_and_its_tokens_with_it(place: Place) -> None:
    place.append(revoke(place.access, place.binding, by=OWNER, reason="", now=place.clock.at)[1])
    place.bind({"sub": "robot-7"}, life=60)
    token = place.signer.sign(place.claims(life=3000))
    place.clock.advance(59)
    assert place.ask(token)
    place.clock.advance(1)
    assert place.refused(token) == "expired-credential"


def test_the_cache_is_bounded(place: Place) -> None:
    place.verifier._most = 20
    for number in range(50):
        place.ask(place.signer.sign(place.claims(jti=str(number))))
    assert len(place.verifier) == 20


def test_a_binding_that_says_more_counts_before_one_that_says_less(place: Place) -> None:
    exact = place.bind({"sub": "robot-7", "team": "blue"})
    assert place.ask(place.signer.sign(place.claims(team="blue"))).credential == exact
    assert place.ask(place.signer.sign(place.claims(team="red"))).credential == place.binding


def test_the_list_says_what_proves_whom(place: Place) -> None:
    (row,) = list_bindings(place.access, now=place.clock.at, last_use=lambda *_: None)
    assert (row["id"], row["state"], row["proved_by"]["issuer"]) == (place.binding, "active", "idp")


# Workload identity --------------------------------------------------------------------------------------------------


def test_a_kubernetes_account_is_named_whole() -> None:
    account = "system:serviceaccount:shop:web"
    place = Place("RS256", "kubernetes", {"sub": account})
    more = {"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "1"}}}
    token = place.signer.sign(place.claims(sub=account, jti=None, **more), typ=None)
    assert place.ask(token).credential == place.binding
    assert place.ask(token), "it counts as often as it is shown"
    for subject in ("system:serviceaccount:shop:web2", "system:serviceaccount:evil:web", "web"):
        assert place.refused(place.signer.sign(place.claims(sub=subject))) == "unbound-token"
    for pattern in ("system:serviceaccount:*:web", "system:serviceaccount:shop:*", "shop:web", ""):
        with pytest.raises(InputError):
            place.bind({"sub": pattern})


def github(patterns: dict[str, str] | None = None) -> Place:
    return Place("RS256", "github", patterns or {"repository": "acme/risk", "ref": "refs/heads/main"})


def test_a_ci_job_counts_once() -> None:
    place = github()
    token = place.signer.sign(github_claims(place.clock.at))
    assert place.ask(token).credential == place.binding
    assert place.refused(token) == "token-replayed"
    assert len(place.verifier) == 0
    assert place.refused(place.signer.sign(github_claims(place.clock.at, jti=None))) == "bad-token"


def test_a_ci_job_of_another_place_is_nobody() -> None:
    place = github()
    now = place.clock.at
    other = github_claims(now) | {"repository": "acme/risk2", "sub": "repo:acme/risk2:ref:refs/heads/main"}
    branch = github_claims(now) | {"ref": "refs/heads/evil", "sub": "repo:acme/risk:ref:refs/heads/evil"}
    pull = github_claims(now) | {
        "event_name": "pull_request", "ref": "refs/pull/7/merge", "sub": "repo:acme/risk:pull_request",
    }  # fmt: skip
    for claimed in (other, branch, pull):
        assert place.refused(place.signer.sign(claimed)) == "unbound-token"
    assert not place.spent, "what proves nobody uses nothing up"


@pytest.mark.parametrize(
    "subject", ["repo:acme/risk", "repository_owner:acme", "repo:acme/risk:environment:production", "x", None]
)
def test_a_customised_subject_is_refused(subject: str | None) -> None:
    place = github()
    claimed = github_claims(place.clock.at)
    claimed.pop("sub")
    claimed |= {"sub": subject} if subject else {}
    assert place.refused(place.signer.sign(claimed)) == "bad-subject"


def test_an_environment_can_be_asked_for() -> None:
    place = github({"repository": "acme/*isk", "environment": "production"})
    claimed = github_claims(place.clock.at) | {
        "environment": "production", "sub": "repo:acme/risk:environment:production",
    }  # fmt: skip
    assert place.ask(place.signer.sign(claimed))
    assert place.refused(place.signer.sign(github_claims(place.clock.at, jti="2"))) == "unbound-token"


def test_a_gitlab_job_is_bound_to_project_and_ref() -> None:
    place = Place("RS256", "gitlab", {"project_path": "acme/risk", "ref": "main"})
    claimed = place.claims(
        iss="https://gitlab.com", sub="project_path:acme/risk:ref_type:branch:ref:main", project_path="acme/risk",
        ref="main", ref_type="branch",
    )  # fmt: skip
    assert place.ask(place.signer.sign(claimed))
    assert place.refused(place.signer.sign(claimed | {"ref": "x", "jti": "2"})) == "bad-subject"


@pytest.mark.parametrize(
    "patterns",
    [
        {"repository": "*"},
        {"repository": "*/*", "ref": "refs/heads/main"},
        {"repository": "acme/*", "ref": "refs/heads/main"},
        {"repository": "*/risk", "ref": "refs/heads/main"},
        {"repository": "acme/risk"},
        {"repository": "acme/risk", "ref": "*"},
        {"repository": "acme/risk", "ref": "refs/heads/*"},
        {"repository": "acme/risk", "environment": "*"},
        {"ref": "refs/heads/main"},
        {"sub": "repo:acme/risk:*"},
        {"repository": "acme/risk", "ref": "refs/heads/main", "aud": "x"},
        {},
    ],
)
def test_a_pattern_that_would_match_nearly_everything_is_refused(patterns: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        github(patterns or {"sub": "*"})
    assert caught.value.code == "bad-pattern"


@pytest.mark.parametrize("pattern", ["*", "**", "a*", "*robot", "", "x" * 301, "a\nb"])
def test_a_subject_of_hardly_a_letter_is_refused(place: Place, pattern: str) -> None:
    with pytest.raises(InputError):
        place.bind({"sub": pattern})


def test_a_star_stays_within_its_part(place: Place) -> None:
    bound = place.bind({"sub": "team:rob*"})
    assert place.ask(place.signer.sign(place.claims(sub="team:robin"))).credential == bound
    for subject in ("team:robin:admin", "team:robin/admin", "xteam:robin"):
        assert place.refused(place.signer.sign(place.claims(sub=subject))) == "unbound-token"


def test_a_ci_job_may_do_only_what_asks_no_person() -> None:
    place = github()
    place.append(revoke(place.access, place.binding, by=OWNER, reason="", now=place.clock.at)[1])
    place.bind({"repository": "acme/risk", "ref": "refs/heads/main"}, role="owner")
    robot = place.ask(place.signer.sign(github_claims(place.clock.at)))

    def may(action: Action, **attributes: Any) -> bool:
        resource = Resource(action.partition(":")[0], "x", attributes={"profile": "standard", **attributes})
        return place.authorizer.decide(robot, action, resource).allowed

    assert may(Action.MODEL_PUSH)
    assert not may(Action.DEPLOYMENT_DEPLOY)
    assert not may(Action.DEPLOYMENT_DEPLOY, human_approved=False, ci=False)
    assert may(Action.DEPLOYMENT_DEPLOY, human_approved=True)
    assert may(Action.DEPLOYMENT_ROLLBACK, human_approved=True)
    for action in (Action.KEY_ISSUE, Action.MODEL_EXPORT, Action.DATASET_EXPORT, Action.MODEL_APPROVE):
        assert not may(action, human_approved=True)
    for action in (Action.ISSUER_BIND, Action.SIGNER_ADD, Action.PROVIDER_ADD):  # nor says whose word counts
        assert not may(action, human_approved=True)


def test_issuers_are_given_by_https_and_once(place: Place) -> None:
    for bad in (
        "http://idp.example",
        "https://",
        "https://u:p@idp.example",
        "https://idp.example?x",
        "idp",
        "https://a b",
    ):
        with pytest.raises(InputError):
            place.add("bad", place.signer, issuer=bad)
    with pytest.raises(Exception, match="revoke it first"):
        place.add("again", place.signer)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [1]}', b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "1"}]}', b"x" * 70_000,
        b'{"keys": [{"kty": "EC", "crv": "", "x": "AA", "y": "AA"}]}', b'{"keys": [{"kty": "OKP", "crv": "P-256", "x": "AA"}]}',
        b'{"keys": [], "keys": []}',
    ],
)  # fmt: skip
def test_a_key_set_that_cannot_be_used_is_refused(document: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_jwks(document, ["ES256", "RS256"])
    assert caught.value.code == "bad-jwks"


def test_a_private_key_in_a_key_set_is_refused_and_not_shown() -> None:
    signer = Signer()
    private = {**signer.key.as_dict(private=True), "kid": "k1"}
    with pytest.raises(InputError) as caught:
        read_jwks(json.dumps({"keys": [private]}).encode(), ["ES256"])
    assert private["d"] not in caught.value.message


def test_a_weak_key_is_refused() -> None:
    from joserfc.errors import SecurityWarning
    from joserfc.jwk import RSAKey

    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024)
    document = json.dumps({"keys": [{**weak.as_dict(private=False), "kid": "1"}]}).encode()
    with pytest.raises(InputError):
        read_jwks(document, ["RS256"])
