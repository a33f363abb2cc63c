"""What the signed ledger says of who exists, what proves them and what they were granted, folded entry by entry.

An entry that contradicts those before it stops the fold: nobody then has access.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from casemate.core import Principal, PrincipalKind, VerificationError, parse_rfc3339
from casemate.iam.glass import KIND as GLASS
from casemate.iam.glass import Glass, GlassBroken, GlassRecord, after, broken, read_glass_record
from casemate.iam.person import Person
from casemate.iam.policy_records import KIND as POLICY
from casemate.iam.policy_records import PolicyState, read_policy_record
from casemate.iam.providers.records import KIND as PROVIDERS
from casemate.iam.providers.records import Outside, ProviderRecord, SubjectLinked, read_provider_record
from casemate.iam.records import (
    MAX_TEMPORARY,
    RECORD_KINDS,
    Credential,
    Grant,
    GrantDenied,
    GrantRequested,
    PersonRecord,
    PrincipalCreated,
    Record,
    Retired,
    Revoked,
    read_record,
)
from casemate.iam.review_records import KIND as REVIEWS
from casemate.iam.review_records import ReviewRecord, Reviews, read_review_record
from casemate.iam.tokens.records import KIND as ISSUERS
from casemate.iam.tokens.records import (
    AnyCredential,
    Binding,
    Issuer,
    IssuerAdded,
    IssuerKeys,
    IssuerRecord,
    TokenBinding,
    read_issuer_record,
)

CLOCK = "clock"  # an entry that says: the machine's clock is right, and the record was ahead of it


class SignedEntry(Protocol):
    """What is read of a ledger entry."""

    @property
    def number(self) -> int: ...
    @property
    def at(self) -> str | datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> Any: ...


GrantsByScope = dict[str, dict[str, Grant]]  # scope -> grant id -> grant


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known up to ledger entry `number`."""

    number: int = 0
    principals: Mapping[str, Principal] = {}
    credentials: Mapping[str, AnyCredential] = {}  # keys and bindings
    by_hash: Mapping[str, Credential] = {}
    retired: Mapping[str, Retired] = {}  # by the credential that was rotated
    grants: Mapping[str, GrantsByScope] = {}  # by principal; none that was revoked
    granted: Mapping[str, Grant] = {}  # by id, those revoked included
    emergencies: Mapping[str, Grant] = {}  # by id; they give nothing. None that was revoked
    glass: Mapping[str, Glass] = {}  # by the id of the grant that an opening made
    requests: Mapping[str, GrantRequested] = {}  # by id, however they were answered
    ended: Mapping[str, GrantDenied | Revoked] = {}  # by the id of the request or grant
    people: Mapping[str, Person] = {}  # by id, those revoked included
    people_by_name: Mapping[str, str] = {}  # name -> id; none that was revoked
    revoked: frozenset[str] = frozenset()
    revocations: Mapping[str, Revoked] = {}  # by the id of what was revoked first
    latest: datetime | None = None  # the newest time on record
    issuers: Mapping[str, Issuer] = {}  # by id, those revoked included
    bound: Mapping[str, tuple[TokenBinding, ...]] = {}  # by issuer, oldest first, those that ended included
    reviews: Reviews = Reviews()
    policy: PolicyState = PolicyState()
    outside: Outside = Outside()


def fold(snapshot: Snapshot, entries: Iterable[SignedEntry]) -> Snapshot:
    """The snapshot after `entries`; the very same object if there are none.

    Raises: VerificationError (state-unreadable): an entry contradicts the ones before it.
    """
    folding: _Folding | None = None
    for entry in entries:
        folding = folding or _Folding(snapshot)
        folding.take(entry)
    return folding.finish() if folding else snapshot


class _Folding:
    """One batch of entries on copies of a snapshot's maps. A principal's grants are copied once, when first touched."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._number = snapshot.number
        self._latest = snapshot.latest
        self._principals = dict(snapshot.principals)
        self._credentials = dict(snapshot.credentials)
        self._by_hash = dict(snapshot.by_hash)
        self._grants = dict(snapshot.grants)
        self._retired = dict(snapshot.retired)
        self._granted = dict(snapshot.granted)
        self._emergencies = dict(snapshot.emergencies)
        self._glass = dict(snapshot.glass)
        self._requests = dict(snapshot.requests)
        self._ended = dict(snapshot.ended)
        self._people = dict(snapshot.people)
        self._people_by_name = dict(snapshot.people_by_name)
        self._revoked = set(snapshot.revoked)
        self._revocations = dict(snapshot.revocations)
        self._touched: set[str] = set()
        self._added: dict[str, IssuerAdded] = {}  # without keys yet: the same commit brings them
        self._issuers = dict(snapshot.issuers)
        self._bound = dict(snapshot.bound)
        self._reviews = snapshot.reviews
        self._policy = snapshot.policy
        self._outside = snapshot.outside

    def take(self, entry: SignedEntry) -> None:
        self._number = entry.number
        at = parse_rfc3339(entry.at) if isinstance(entry.at, str) else entry.at
        self._latest = at if self._latest is None else max(self._latest, at)
        if entry.kind == CLOCK:  # what came before was written by a clock that was wrong
            self._latest = at
        if entry.kind in RECORD_KINDS:
            self._apply(read_record(entry.kind, entry.body))
        elif entry.kind == GLASS:
            self._break_glass(read_glass_record(entry.body))
        elif entry.kind == ISSUERS:
            self._apply_issuer(read_issuer_record(entry.body))
        elif entry.kind == REVIEWS:
            self._review(read_review_record(entry.body))
        elif entry.kind == POLICY:
            self._policy = self._policy.after(read_policy_record(entry.body))
        elif entry.kind == PROVIDERS:
            self._apply_provider(read_provider_record(entry.body))

    def _apply(self, record: Record) -> None:
        if isinstance(record, PrincipalCreated):
            self._refuse_if(record.id in self._principals, record.id, "is there already")
            self._principals[record.id] = Principal(
                id=record.id, kind=record.kind, name=record.name, project=record.project
            )
            if record.kind is PrincipalKind.USER:
                self._refuse_if(record.name in self._people_by_name, record.id, "has the name of somebody else")
                self._people_by_name[record.name] = record.id
                self._people[record.id] = Person(principal=self._principals[record.id], created=record)
        elif isinstance(record, Credential):
            self._credential(record)
        elif isinstance(record, Retired):
            self._retire(record)
        elif isinstance(record, GrantRequested):
            self._request(record)
        elif isinstance(record, GrantDenied):
            self._deny(record)
        elif isinstance(record, Grant):
            self._grant(record)
        elif isinstance(record, Revoked):
            self._revoke(record)
        else:
            self._person(record)

    def _person(self, record: PersonRecord) -> None:
        person = self._people.get(record.principal)
        if person is None:
            raise _contradiction(record.principal, "is no person")
        try:
            self._people[record.principal] = person.after(record)
        except ValueError as error:
            raise _contradiction(record.principal, str(error)) from error

    def _credential(self, record: Credential) -> None:
        self._refuse_if(record.id in self._credentials or record.hash in self._by_hash, record.id, "is there already")
        self._refuse_if(record.principal not in self._principals, record.id, "belongs to nobody")
        if record.replaces is not None:
            old = self._credentials.get(record.replaces)
            same = isinstance(old, Credential) and _carried(old) == _carried(record)
            self._refuse_if(not same, record.id, "is not what the key before it was")
        self._credentials[record.id] = self._by_hash[record.hash] = record

    def _retire(self, record: Retired) -> None:
        old, new = self._credentials.get(record.id), self._credentials.get(record.replaced_by)
        self._refuse_if(record.id in self._retired, record.id, "was rotated twice")
        if not isinstance(old, Credential) or not isinstance(new, Credential) or new.replaces != old.id:
            raise _contradiction(record.id, "was replaced by a key that is not its successor")
        self._refuse_if(record.until > old.expires_at, record.id, "would live on because it was rotated")
        self._retired[old.id] = record
        ending = msgspec.structs.replace(old, expires_at=record.until)
        self._credentials[old.id] = self._by_hash[old.hash] = ending

    def _request(self, record: GrantRequested) -> None:
        self._refuse_if(record.id in self._requests or record.id in self._granted, record.id, "is there already")
        self._refuse_if(record.principal not in self._principals, record.id, "belongs to nobody")
        too_long = record.life > MAX_TEMPORARY and not record.emergency
        self._refuse_if(too_long, record.id, "was asked for, for longer than anybody may")
        self._requests[record.id] = record

    def _deny(self, record: GrantDenied) -> None:
        request = self._requests.get(record.id)
        if request is None:
            raise _contradiction(record.id, "was denied and never asked for")
        self._refuse_if(record.id in self._granted or record.id in self._ended, record.id, "was answered before")
        self._refuse_if(record.denied_at >= request.answer_by, record.id, "was answered too late")
        self._ended[record.id] = record

    def _grant(self, grant: Grant) -> None:
        self._refuse_if(grant.id in self._granted, grant.id, "is there already")
        self._refuse_if(grant.principal not in self._principals, grant.id, "belongs to nobody")
        if grant.id in self._requests:
            self._answer(self._requests[grant.id], grant)
        self._granted[grant.id] = grant
        if grant.emergency:
            self._refuse_if(
                grant.principal not in self._people, grant.id, "is for emergencies of somebody who is no person"
            )
            if grant.id not in self._revoked:
                self._emergencies[grant.id] = grant
        elif grant.id not in self._revoked:
            self._own(grant.principal).setdefault(grant.scope, {})[grant.id] = grant

    def _answer(self, request: GrantRequested, grant: Grant) -> None:
        """An approval gives what was asked for, and no more."""
        self._refuse_if(grant.id in self._ended, grant.id, "was answered before")
        self._refuse_if(grant.granted_at >= request.answer_by, grant.id, "was answered too late")
        self._refuse_if(grant.granted_by == request.principal, grant.id, "was approved by whoever asked for it")
        longest = grant.granted_at + timedelta(seconds=request.life)
        fits = _wanted(grant) == _wanted(request) and grant.expires_at <= longest
        self._refuse_if(not fits, grant.id, "gives something else than was asked for")

    def _break_glass(self, record: GlassRecord) -> None:
        try:
            if not isinstance(record, GlassBroken):
                self._glass[record.id] = after(self._glass.get(record.id), record)
                return
            emergency = self._emergencies.get(record.emergency)
            self._glass[record.id] = broken(emergency, self._glass, record)
        except ValueError as error:
            raise _contradiction(record.id, str(error)) from error
        assert emergency is not None, "asked for before"
        self._grant(record.grant(emergency))

    def _apply_issuer(self, record: IssuerRecord) -> None:
        if isinstance(record, IssuerAdded):
            self._refuse_if(record.id in self._issuers or record.id in self._added, record.id, "is there already")
            self._added[record.id] = record
        elif isinstance(record, IssuerKeys):
            about = self._added.pop(record.id, None)
            if about is None:
                known = self._issuers.get(record.id)
                if known is None:
                    raise _contradiction(record.id, "has keys and was never added")
                about = known.about
            self._issuers[record.id] = Issuer(about=about, keys=record)
        elif isinstance(record, Revoked):
            self._revoke(record)
        else:
            self._bind(record)

    def _apply_provider(self, record: ProviderRecord) -> None:
        if isinstance(record, Revoked):
            self._revoke(record)
            return
        try:
            self._outside = self._outside.after(record)
        except ValueError as error:
            raise _contradiction(getattr(record, "id", "a subject"), str(error)) from error
        if isinstance(record, SubjectLinked):
            person = self._people.get(record.principal)
            if person is None:
                raise _contradiction(record.principal, "is linked and no person")
            self._people[record.principal] = msgspec.structs.replace(person, linked_at=record.linked_at)

    def _bind(self, record: Binding) -> None:
        self._refuse_if(record.id in self._credentials, record.id, "is there already")
        self._refuse_if(record.principal not in self._principals, record.id, "belongs to nobody")
        if isinstance(record, TokenBinding):
            issuer = self._issuers.get(record.issuer)
            if issuer is None:
                raise _contradiction(record.id, "is bound to an issuer that is not there")
            self._refuse_if(record.ci is not issuer.about.kind.is_ci, record.id, "is not of its issuer's kind")
            self._bound[record.issuer] = (*self._bound.get(record.issuer, ()), record)
        self._credentials[record.id] = record

    def _revoke(self, record: Revoked) -> None:
        self._revoked.add(record.id)
        self._revocations.setdefault(record.id, record)
        if record.id in self._people:
            self._people_by_name.pop(self._people[record.id].name, None)
        grant = self._granted.get(record.id)
        if grant is not None or record.id in self._requests:
            self._ended.setdefault(record.id, record)
        self._emergencies.pop(record.id, None)
        if grant is not None:
            self._own(grant.principal).get(grant.scope, {}).pop(record.id, None)

    def _review(self, record: ReviewRecord) -> None:
        live = (
            grant
            for grant in self._granted.values()
            if grant.id not in self._revoked and grant.principal not in self._revoked
        )
        try:
            self._reviews = self._reviews.after(record, live)
        except ValueError as error:
            raise _contradiction(record.id, str(error)) from error

    def _own(self, principal: str) -> GrantsByScope:
        if principal not in self._touched:
            self._touched.add(principal)
            shared = self._grants.get(principal, {})
            self._grants[principal] = {scope: dict(grants) for scope, grants in shared.items()}
        return self._grants[principal]

    @staticmethod
    def _refuse_if(contradiction: bool, what: str, why: str) -> None:  # noqa: FBT001 - reads as a sentence
        if contradiction:
            raise _contradiction(what, why)

    def finish(self) -> Snapshot:
        return Snapshot(
            number=self._number,
            principals=self._principals,
            credentials=self._credentials,
            by_hash=self._by_hash,
            grants=self._grants,
            retired=self._retired,
            granted=self._granted,
            emergencies=self._emergencies,
            glass=self._glass,
            requests=self._requests,
            ended=self._ended,
            people=self._people,
            people_by_name=self._people_by_name,
            revoked=frozenset(self._revoked),
            revocations=self._revocations,
            latest=self._latest,
            issuers=self._issuers,
            bound=self._bound,
            reviews=self._reviews,
            policy=self._policy,
            outside=self._outside,
        )


def _wanted(record: Grant | GrantRequested) -> tuple[object, ...]:
    return record.principal, record.project, record.role, record.scope, record.environment, record.emergency


def _carried(record: Credential) -> tuple[object, ...]:
    """What a rotation leaves as it was."""
    return record.principal, record.project, record.name, record.role, record.scope, record.environment, record.rate


def _contradiction(what: str, why: str) -> VerificationError:
    return VerificationError(f"The signed state contradicts itself: {what} {why}.", code="state-unreadable")
