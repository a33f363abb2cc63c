"""Signers outside: whose provenance is believed, for which models, and until when. The signed ledger keeps them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec

from casemate.core import (
    ConflictError,
    Digest,
    InputError,
    NotFoundError,
    Principal,
    checked_digest,
    checked_name,
    new_id,
    rfc3339,
)
from casemate.registry.stores import Pen, Stores, unreadable
from casemate.signing.certificates import load_certificates, load_revocations
from casemate.signing.outside import CertificateJudge, IdentityJudge, Judge, PublicKeyJudge
from casemate.storage import LedgerEntry

SIGNER: Final = "signer"
ANY_MODEL: Final = "*"
MAX_LIFE = timedelta(days=366)
MAX_SIGNER: Final = 512 << 10  # bytes of one record: certificates and lists of revoked ones among them
_MAX_NAMED = 50  # models, builders, scripts or environments of one signer
_MAX_SIGNERS = 200  # that count at once: each may be asked about a signature

_Text = Annotated[str, msgspec.Meta(max_length=MAX_SIGNER)]
_Line = Annotated[str, msgspec.Meta(max_length=1000)]
_Lines = Annotated[tuple[_Line, ...], msgspec.Meta(max_length=_MAX_NAMED)]
Method = Literal["key", "certificate", "keyless"]


class SignerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom somebody wants to trust, in one of three ways.

    Args: key: a public key, PEM. roots: certificates that the signer's must lead to, PEM, with identity: a name that it must
        bear; revoked: current lists of revoked ones; timestamp_roots: of timestamp authorities. identity and issuer without
        roots: in Sigstore, against trusted_root, or the public one.
        models: names, or `*`. builders, scripts, environments: what a statement must say; empty for any.
    """

    key: _Text = ""
    roots: _Text = ""
    identity: _Line = ""
    issuer: _Line = ""
    revoked: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=20)] = ()
    timestamp_roots: _Text = ""
    trusted_root: _Text = ""
    models: _Lines = ()
    builders: _Lines = ()
    scripts: _Lines = ()
    environments: _Lines = ()

    @property
    def method(self) -> Method:
        """Raises: InputError `bad-signer`: no one way is named."""
        ways = {
            "key": bool(self.key) and not (self.roots or self.identity or self.issuer),
            "certificate": bool(self.roots and self.identity) and not (self.key or self.issuer),
            "keyless": bool(self.identity and self.issuer) and not (self.key or self.roots),
        }
        for way, named in ways.items():
            if named:
                return way  # type: ignore[return-value]
        raise InputError(
            "Name the signer in one way: a public key; roots and the identity in its certificate; or an identity and "
            "its issuer.",
            code="bad-signer",
        )


class Signer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="change", tag="added"):
    """A ledger body: this signer is believed from here on, until `until`."""

    id: str
    name: str
    trust: SignerRequest
    until: datetime
    by: str
    at: str
    schema: Literal[1] = 1

    @property
    def method(self) -> Method:
        return self.trust.method

    def judge(self) -> Judge:
        """Who says whether it signed. Raises: InputError: `bad-public-key`, `bad-certificate`, `bad-trusted-root`."""
        trust = self.trust
        if self.method == "key":
            return PublicKeyJudge(trust.key.encode())
        if self.method == "keyless":
            return IdentityJudge(trust.identity, trust.issuer, trust.trusted_root.encode() or None)
        return CertificateJudge(
            load_certificates(trust.roots.encode(), "file of roots"),
            revoked=[load_revocations(one.encode()) for one in trust.revoked],
            timestamp_roots=load_certificates(trust.timestamp_roots.encode(), "file of timestamp roots")
            if trust.timestamp_roots
            else (),
            identity=trust.identity,
        )

    def shown(self, *, now: datetime, ended: bool = False) -> dict[str, Any]:
        """The row of a list; never a certificate or a key whole."""
        trust = self.trust
        who = {"key": _keyid(self) if self.method == "key" else "", "identity": trust.identity, "issuer": trust.issuer}
        return {
            "id": self.id,
            "name": self.name,
            "method": self.method,
            "who": next((value for value in (who["key"], trust.identity) if value), ""),
            **({"issuer": trust.issuer} if trust.issuer else {}),
            "models": list(trust.models),
            "builders": list(trust.builders),
            "scripts": list(trust.scripts),
            "environments": list(trust.environments),
            "until": rfc3339(self.until),
            "by": self.by,
            "at": self.at,
            "state": "removed" if ended else "trusted" if now < self.until else "expired",
        }


class SignerRemoved(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="change", tag="removed"
):
    """A ledger body: nothing that this signer signs is believed from here on."""

    id: str
    by: str
    reason: str
    at: str
    schema: Literal[1] = 1


class Known(msgspec.Struct, frozen=True):
    """Args: added: every signer there ever was, by id, oldest first. removed: ids of those that ended."""

    added: dict[str, Signer] = {}
    removed: frozenset[str] = frozenset()

    def live(self) -> list[Signer]:
        return [one for one in self.added.values() if one.id not in self.removed]

    def all(self) -> list[Signer]:
        """Those that count first."""
        return self.live() + [one for one in self.added.values() if one.id in self.removed]


def signers_of(stores: Stores) -> Known:
    """By the newest signed state. Raises: VerificationError."""
    return stores.folded(SIGNER, Known(), _fold)


class Signers:
    """The signers outside of one project. Args: pen: None where nothing may be changed."""

    def __init__(self, stores: Stores, pen: Pen | None = None) -> None:
        self._stores, self._pen = stores, pen

    def all(self) -> list[dict[str, Any]]:
        """Each that was not removed. Raises: VerificationError."""
        now = self._stores.clock.now()
        return [one.shown(now=now) for one in signers_of(self._stores).live()]

    def find(self, name: str) -> Signer:
        """By name or id. Raises: NotFoundError."""
        for one in signers_of(self._stores).live():
            if name in (one.name, one.id):
                return one
        raise NotFoundError(f"There is no signer {name[:80]!r}: see casemate signer list.", code="not-found")

    def add(
        self, name: str, request: SignerRequest, *, life: timedelta, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Believe this signer from now on, for `life`.

        Raises: InputError `bad-signer`, `bad-expiry`, `bad-name`, `bad-digest`, `bad-public-key`, `bad-certificate`,
            `bad-trusted-root`; ConflictError `signer-exists`, `too-many-signers`.
        """
        now = self._stores.clock.now()
        if not timedelta(0) < life <= MAX_LIFE:
            raise InputError("A signer is trusted for at most 366 days: --expires 90d.", code="bad-expiry")
        signer = Signer(
            id=new_id("sgn"),
            name=checked_name(name),
            trust=_checked(request),
            until=now + life,
            by=actor.id,
            at=rfc3339(now),
        )
        signer.judge()  # what cannot be read is trusted by nobody
        pen = self._writing()
        with pen.deciding:
            live = signers_of(self._stores).live()
            if any(one.name == name for one in live):
                raise ConflictError(
                    f"A signer {name} is there already: casemate signer remove {name}, or take another name.",
                    code="signer-exists",
                )
            if len(live) >= _MAX_SIGNERS:
                raise ConflictError(
                    f"There are {_MAX_SIGNERS} signers already: remove what nobody needs.", code="too-many-signers"
                )
            pen.commit([(SIGNER, msgspec.to_builtins(signer))], intent)
        return signer.shown(now=now)

    def _writing(self) -> Pen:
        if self._pen is None:
            raise TypeError("built without a pen: it reads only")
        return self._pen


def removal(stores: Stores, signer: Signer, *, actor: Principal, reason: str) -> tuple[str, dict[str, Any]]:
    """The ledger entry that ends a signer."""
    body = SignerRemoved(id=signer.id, by=actor.id, reason=reason, at=rfc3339(stores.clock.now()))
    return SIGNER, msgspec.to_builtins(body)


def read_signer(data: bytes) -> SignerRequest:
    """Raises: InputError `bad-signer`."""
    try:
        return msgspec.json.decode(data, type=SignerRequest)
    except msgspec.DecodeError as error:
        raise InputError(f"The signer cannot be read: {error}.", code="bad-signer") from error


def _checked(request: SignerRequest) -> SignerRequest:
    """Raises: InputError."""
    method = request.method
    if not request.models:
        raise InputError("Say for which models: --model NAME, or --model '*' for all.", code="bad-signer")
    models = tuple(sorted({one if one == ANY_MODEL else checked_name(one) for one in request.models}))
    texts = (request.identity, request.issuer, *request.builders)
    if any(not text.isprintable() for text in texts):
        raise InputError("A name holds characters that cannot be shown.", code="bad-signer")
    if method != "certificate" and (request.revoked or request.timestamp_roots):
        raise InputError("Lists of revoked certificates and timestamp roots go with roots.", code="bad-signer")
    if method != "keyless" and request.trusted_root:
        raise InputError("A trusted root of Sigstore goes with an identity and its issuer.", code="bad-signer")
    digests: tuple[tuple[Digest, ...], ...] = tuple(
        tuple(checked_digest(one) for one in some) for some in (request.scripts, request.environments)
    )
    return msgspec.structs.replace(request, models=models, scripts=digests[0], environments=digests[1])


def _keyid(signer: Signer) -> str:
    judge = signer.judge()
    return judge.keyid if isinstance(judge, PublicKeyJudge) else ""


def _fold(last: Known, entries: list[LedgerEntry]) -> Known:
    added, removed = dict(last.added), set(last.removed)
    for entry in entries:
        try:
            body = msgspec.convert(entry.body, Signer | SignerRemoved)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        if isinstance(body, Signer):
            added[body.id] = body
        else:
            removed.add(body.id)
    return Known(added, frozenset(removed))
