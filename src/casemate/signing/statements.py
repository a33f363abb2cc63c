"""In-toto statements of ours: each binds what it says to one project, kind, name, number and digest.

Source: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from casemate.core import AssetKind, Digest, VerificationError, canonical, rfc3339
from casemate.signing.dsse import Signer, decode_envelope, encode_envelope, malformed, open_envelope
from casemate.signing.trust import Predicate, TrustPolicy

_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
# Of a training or a conversion: what was so this once, and does not make another version: when, by whom, how long.
RUN: Final = "run"


class VersionIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The one version that a statement is about; `digest` is over its canonical manifest."""

    project: str
    kind: AssetKind
    name: str
    number: int
    digest: Digest

    def __str__(self) -> str:
        return f"{self.project}/{self.kind}/{self.name}@{self.number}"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a signer said. Only what was verified is read into one."""

    predicate: Predicate
    about: VersionIdentity
    facts: dict[str, Any]
    at: str
    keyid: str


class _Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal[1]
    about: VersionIdentity
    at: str
    facts: dict[str, Any]


class _InToto(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate_type: Predicate = msgspec.field(name="predicateType")
    subject: tuple[_Subject, ...]
    predicate: _Facts


def sign_statement(
    predicate: Predicate, about: VersionIdentity, facts: dict[str, Any], *, signer: Signer, at: datetime
) -> bytes:
    """A signed envelope that says `facts` of `about`. Args: facts: plain JSON values."""
    return encode_envelope(signer.sign(statement_payload(predicate, about, facts, at=at)))


def statement_payload(predicate: Predicate, about: VersionIdentity, facts: dict[str, Any], *, at: datetime) -> bytes:
    """What is signed when somebody says `facts` of `about`: an in-toto statement as canonical JSON."""
    return canonical(
        _InToto(
            type=_TYPE,
            predicate_type=predicate,
            subject=(_subject(about),),
            predicate=_Facts(schema=1, about=about, at=rfc3339(at), facts=facts),
        )
    )


def verify_statement(
    envelope: bytes, predicate: Predicate, about: VersionIdentity, *, trust: TrustPolicy, at: datetime
) -> Statement:
    """Return what a signer trusted for `predicate` at `at` said of exactly this version.

    Raises: VerificationError `signature-malformed`, `signer-not-trusted`, `certificate-expired`, `signature-invalid`,
        `predicate-mismatch`, `name-mismatch` (project, kind, name or number), `digest-mismatch`.
    """
    read = decode_envelope(envelope)
    keyid = read.signatures[0].keyid
    return read_statement(open_envelope(read, trust.key_for(keyid, predicate, at=at)), predicate, about, keyid=keyid)


def read_statement(payload: bytes, predicate: Predicate, about: VersionIdentity, *, keyid: str) -> Statement:
    """What `payload` says, whose signature the caller has verified. Args: keyid: of the key that signed it.

    Raises: VerificationError `signature-malformed`, `predicate-mismatch`, `name-mismatch`, `digest-mismatch`.
    """
    try:
        said = msgspec.json.decode(payload, type=_InToto)
    except ValueError as error:
        raise malformed("it does not hold a statement of ours") from error
    if said.predicate_type is not predicate:
        raise VerificationError(
            f"A statement of type {said.predicate_type} stands where one of type {predicate} belongs.",
            code="predicate-mismatch",
        )
    if said.subject != (_subject(said.predicate.about),):
        raise malformed("its subject and its predicate differ")
    check_about(said.predicate.about, about)
    return Statement(predicate=predicate, about=about, facts=said.predicate.facts, at=said.predicate.at, keyid=keyid)


def _subject(about: VersionIdentity) -> _Subject:
    return _Subject(name=str(about), digest={"sha256": about.digest.removeprefix("sha256:")})


def check_about(claimed: VersionIdentity, about: VersionIdentity) -> None:
    """Return when a statement about `claimed` is one about `about`. Raises: VerificationError `name-mismatch`, `digest-mismatch`."""
    if str(claimed) != str(about):
        raise VerificationError(
            f"A statement about {claimed} stands at {about}: it was moved; push the version again.",
            code="name-mismatch",
        )
    if claimed.digest != about.digest:
        raise VerificationError(
            f"A statement about {about} speaks of other content than is stored; push the version again.",
            code="digest-mismatch",
        )
