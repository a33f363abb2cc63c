"""No sequence of adding, binding, refreshing and ending issuers lets in a token that a plain model keeps out, or the reverse."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, precondition, rule
from token_makers import AUDIENCE, Signer, claims

sys.path.append(str(Path(__file__).parents[2] / "unit" / "iam"))
from iam_house import OWNER, START, House

from casemate.core import Action, AuthError, ConflictError, Resource
from casemate.iam import Access, Authorizer, key_request
from casemate.iam.tokens.bindings import bind, token_binding
from casemate.iam.tokens.issuers import add_issuer, find_issuer, issuer_request, record_keys, revoke
from casemate.iam.tokens.jwks import read_jwks
from casemate.iam.tokens.verifier import TokenVerifier

NAMES = ("one", "two")
LEEWAY = 30  # s, for clocks that differ
SIGNERS = [Signer(kid=f"k{number}") for number in range(3)]


@dataclass
class Issuer:
    name: str
    id: str
    signer: Signer
    gone: bool = False
    subjects: set[str] = field(default_factory=set)


@dataclass
class Binding:
    id: str
    issuer: Issuer
    subject: str
    end: float
    gone: bool = False


@dataclass
class Token:
    text: str
    name: str
    signer: Signer
    subject: str
    begins: int
    ends: int


class IssuerMachine(RuleBasedStateMachine):
    issuers = Bundle("issuers")
    bindings = Bundle("bindings")
    tokens = Bundle("tokens")

    @initialize()
    def build(self) -> None:
        self.house = House()
        self.second = self.latest = 0.0
        self.added: list[Issuer] = []
        self.bound: list[Binding] = []
        self.count = 0
        self.open()

    def open(self) -> None:
        self.house.access = Access(self.house.ledger, owner_uid=1000)
        self.house.access.refresh()
        self.house.authorizer = Authorizer(
            access=self.house.access,
            policies=self.house.authorizer.policies,
            clock=self.house.clock,
            tokens=TokenVerifier(),
        )

    def now(self) -> float:
        self.latest = max(self.latest, self.second)
        return self.latest

    @rule(seconds=st.sampled_from([1, 5, 29, 30, 60, 300]))
    def wait(self, seconds: int) -> None:
        self.second += seconds
        self.house.clock.at = START + timedelta(seconds=self.second)

    @precondition(lambda self: self.second >= 60)
    @rule(seconds=st.sampled_from([1, 60]))
    def set_the_clock_back(self, seconds: int) -> None:
        self.house.access.instant(self.house.clock.at)
        self.now()
        self.second -= seconds
        self.house.clock.at = START + timedelta(seconds=self.second)

    @rule()
    def restart(self) -> None:
        self.second = self.now()
        self.house.clock.at = START + timedelta(seconds=self.second)
        self.open()

    @rule(target=issuers, name=st.sampled_from(NAMES), signer=st.sampled_from(SIGNERS))
    def add(self, name: str, signer: Signer):
        taken = any(one.name == name and not one.gone for one in self.added)
        asked = issuer_request(
            name, kind="generic", issuer=f"https://{name}.example", audience=AUDIENCE, algorithms=["ES256"], source=""
        )
        keys = read_jwks(signer.jwks(), asked.algorithms)
        try:
            self.house.append(add_issuer(self.house.access, asked, keys, by=OWNER, now=self.house.clock.at))
        except ConflictError:
            assert taken
            return multiple()
        assert not taken
        made = Issuer(name, find_issuer(self.house.access, name).about.id, signer)
        self.added.append(made)
        return made

    @rule(target=bindings, issuer=issuers, life=st.sampled_from([10, 60, 3600]))
    def bind(self, issuer: Issuer, life: int):
        if issuer.gone:
            return multiple()
        self.count += 1
        subject = f"robot-{self.count}"
        asked = key_request("robot", role="caller", scope="*", now=self.house.clock.at, life=life)
        made = bind(asked, token_binding(self.house.access, issuer.name, {"sub": subject}), by=OWNER, reason="test")
        self.house.append(made.entries)
        binding = Binding(made.id, issuer, subject, self.second + life)
        self.bound.append(binding)
        return binding

    @rule(
        target=tokens,
        binding=bindings,
        signer=st.sampled_from([None, None, *SIGNERS]),
        life=st.sampled_from([5, 60, 300]),
    )
    def sign(self, binding: Binding, signer: Signer | None, life: int) -> Token:
        """By the issuer, or by whoever has another's key."""
        return self.signed(binding.issuer, binding.subject, signer or binding.issuer.signer, life)

    @rule(target=tokens, issuer=issuers, of=bindings)
    def sign_for_the_subject_of_another(self, issuer: Issuer, of: Binding) -> Token:
        return self.signed(issuer, of.subject, issuer.signer, 300)

    def signed(self, issuer: Issuer, subject: str, signer: Signer, life: int) -> Token:
        said = claims(self.house.clock.at, life=life, iss=f"https://{issuer.name}.example", sub=subject)
        return Token(signer.sign(said), issuer.name, signer, subject, said["iat"], said["exp"])

    @rule(issuer=issuers, signer=st.sampled_from(SIGNERS))
    def replace_keys(self, issuer: Issuer, signer: Signer) -> None:
        if not issuer.gone:
            found = find_issuer(self.house.access, issuer.name)
            keys = read_jwks(signer.jwks(), found.about.algorithms)
            self.house.append(record_keys(found, keys, by=OWNER, now=self.house.clock.at))
            issuer.signer = signer

    @rule(issuer=issuers)
    def end_issuer(self, issuer: Issuer) -> None:
        _, entries = revoke(self.house.access, issuer.id, by=OWNER, reason="", now=self.house.clock.at)
        self.house.append(entries)
        issuer.gone = True

    @rule(binding=bindings)
    def unbind(self, binding: Binding) -> None:
        _, entries = revoke(self.house.access, binding.id, by=OWNER, reason="", now=self.house.clock.at)
        self.house.append(entries)
        binding.gone = True

    @rule(issuer=issuers, what=st.sampled_from(["keys", "binding", "issuer", "end"]), back=st.booleans())
    def a_token_that_was_seen_counts_no_longer(self, issuer: Issuer, what: str, back: bool) -> None:
        """It is kept once it was verified, but no longer than what it rests on."""
        binding = self.bind(issuer, 40)
        if not isinstance(binding, Binding):
            return
        token = self.signed(issuer, binding.subject, issuer.signer, 5)
        self.ask(token)
        if what == "keys":
            self.replace_keys(issuer, next(one for one in SIGNERS if one is not issuer.signer))
        elif what == "binding":
            self.unbind(binding)
        elif what == "issuer":
            self.end_issuer(issuer)
        else:
            self.wait(token.ends + LEEWAY - int(START.timestamp() + self.second))
        self.ask(token)
        if back and self.second >= 60:
            self.set_the_clock_back(1)
            self.ask(token)

    @rule(token=tokens)
    def ask(self, token: Token) -> None:
        now = self.now()
        at = START.timestamp() + now
        issuer = next((one for one in self.added if one.name == token.name and not one.gone), None)
        binding = next((one for one in self.bound if one.issuer is issuer and one.subject == token.subject), None)
        lives = (
            issuer is not None
            and binding is not None
            and not binding.gone
            and now < binding.end
            and issuer.signer is token.signer
            and token.begins - LEEWAY <= at < token.ends + LEEWAY
        )
        try:
            found = self.house.authorizer.authenticate(token.text)
        except AuthError:
            assert not lives
            return
        assert lives
        assert binding is not None
        assert found.credential == binding.id
        assert self.house.authorizer.decide(found, Action.DEPLOYMENT_PREDICT, Resource("deployment", "x")).allowed
        assert not self.house.authorizer.decide(found, Action.MODEL_DELETE, Resource("model", "x")).allowed


TestIssuers = IssuerMachine.TestCase
TestIssuers.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
