"""The words that every room shares: names, refs, ids, digests, canonical bytes, principals, actions.

A **Ref** is `[project/]name[@VERSION]`; VERSION is an integer, a digest or a tag such as `latest`.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import msgspec

from casemate.core.errors import InputError

DEFAULT_PROJECT = "default"
SCHEMA = 1  # number of the layout of manifests, statements, events, ledger entries and the home

Digest = NewType("Digest", str)  # "sha256:" + 64 hex digits

_NAME = re.compile(r"[a-z0-9-]{1,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[a-z][a-z0-9._-]{0,62}")
_ID = re.compile(r"[a-z]{1,16}_[0-9a-f]{32}")


def checked_name(text: str, *, what: str = "name") -> str:
    """Return `text` if it is a name; ASCII only, so no two names look alike. Raises: InputError."""
    if not _NAME.fullmatch(text):
        raise InputError(f"{what} {text[:80]!r} is not valid: use 1 to 63 of a-z, 0-9 and '-'.", code="bad-name")
    return text


def checked_digest(text: str) -> Digest:
    """Return `text` as a Digest. Raises: InputError."""
    if not _DIGEST.fullmatch(text):
        raise InputError("A digest is 'sha256:' followed by 64 hexadecimal digits.", code="bad-digest")
    return Digest(text)


def digest_of(data: bytes | memoryview) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


_ENCODER = msgspec.json.Encoder(order="deterministic")


def canonical(value: Any) -> bytes:
    """One byte string per value: JSON, keys sorted, no white space, UTF-8. Digests and signatures are over this."""
    return _ENCODER.encode(value)


def new_id(prefix: str) -> str:
    """A new `prefix_UUIDv7`: sorts by creation time (ms), 74 random bits. Source: RFC 9562, section 5.7."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{prefix}_{value:032x}"


def checked_id(text: str) -> str:
    """Return `text` if it is an id as `new_id` makes them. Raises: InputError."""
    if not _ID.fullmatch(text):
        raise InputError(
            f"{text[:80]!r} is not an id: copy it whole, as in key_ and 32 hexadecimal digits.", code="bad-id"
        )
    return text


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PRODUCTION = "production"


class Profile(StrEnum):
    """How strictly a deployment is guarded; the numbers are in `gateway/profiles.py`."""

    OPEN = "open"
    STANDARD = "standard"
    STRICT = "strict"


class AssetKind(StrEnum):
    DATASET = "dataset"
    MODEL = "model"


class Ref(msgspec.Struct, frozen=True):
    """`[project/]name[@VERSION]`, parsed; `version` None means the latest."""

    name: str
    version: int | Digest | str | None = None
    project: str = DEFAULT_PROJECT

    def __str__(self) -> str:
        project = "" if self.project == DEFAULT_PROJECT else f"{self.project}/"
        return f"{project}{self.name}" + ("" if self.version is None else f"@{self.version}")


def parse_ref(text: str) -> Ref:
    """Parse a Ref. Raises: InputError, naming the part that is wrong."""
    rest, at, version = text.partition("@")
    project, slash, name = rest.rpartition("/")
    return Ref(
        name=checked_name(name),
        version=_parse_version(version) if at else None,
        project=checked_name(project, what="project") if slash else DEFAULT_PROJECT,
    )


def _parse_version(text: str) -> int | Digest | str:
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0:
        return int(text)
    if _DIGEST.fullmatch(text):
        return Digest(text)
    if _TAG.fullmatch(text):
        return text
    raise InputError(f"version {text[:80]!r} is not a positive integer, a sha256 digest or a tag.", code="bad-version")


class Role(StrEnum):
    OWNER = "owner"
    DATA_SCIENTIST = "data-scientist"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    CALLER = "caller"


class PrincipalKind(StrEnum):
    USER = "user"
    SERVICE = "service"


class Principal(msgspec.Struct, frozen=True):
    """Somebody who acts. `id` is stable; `name` is for people; `credential` is the id of what proved it.

    `verified_at`: when a person last gave a second factor; None for whoever has none. `brought`: ids of the group mappings
    that a session through an outside provider began with; they count until `brought_until`, as the ledger has them.
    """

    id: str
    kind: PrincipalKind
    name: str
    project: str = DEFAULT_PROJECT
    credential: str = ""
    verified_at: datetime | None = None
    brought: tuple[str, ...] = ()
    brought_until: datetime | None = None


class Action(StrEnum):
    """All that can be done. Each control-plane route declares one; what declares none is denied."""

    DATASET_READ = "dataset:read"  # metadata, never rows
    DATASET_EXPORT = "dataset:export"  # rows
    DATASET_PUSH = "dataset:push"
    DATASET_TAG = "dataset:tag"
    DATASET_ANONYMIZE = "dataset:anonymize"  # a version of a dataset of its own, made by the home
    DATASET_REIDENTIFY = "dataset:reidentify"  # reversible pseudonyms turned back, and rows that leave so
    DATASET_RESTORE = "dataset:restore"  # an older version as the newest
    DATASET_VERIFY = "dataset:verify"
    DATASET_REVOKE = "dataset:revoke"  # for good: nothing is made from it any more
    DATASET_SCREEN = "dataset:screen"  # for poison, and what that found
    DATASET_CONFIGURE = "dataset:configure"  # how its versions are screened, once that is kept, and how long they stay
    DATASET_QUARANTINE = "dataset:quarantine"  # a new version without the suspects
    DATASET_JUDGE = "dataset:judge"  # a version, or rows that a screening named
    DATASET_DELETE = "dataset:delete"
    MODEL_READ = "model:read"  # metadata, never weights
    MODEL_EXPORT = "model:export"  # weights
    MODEL_PUSH = "model:push"
    MODEL_TRAIN = "model:train"
    MODEL_TRAIN_ONLINE = "model:train-online"  # with a script that is let out to named hosts
    MODEL_CONVERT = "model:convert"  # load a pickle in the sandbox, and push what it becomes
    MODEL_CONVERT_FLAGGED = "model:convert-flagged"  # one that the scan holds more against than being a pickle
    MODEL_VERIFY = "model:verify"
    MODEL_DESCRIBE = "model:describe"  # what people say of a version: its card
    MODEL_EVALUATE = "model:evaluate"  # measure a version on rows, signed
    MODEL_CONFIGURE = "model:configure"  # the gates that it must pass, and who is excepted
    MODEL_APPROVE = "model:approve"
    MODEL_REVOKE = "model:revoke"  # for good: it is never served or loaded again
    MODEL_DELETE = "model:delete"
    DEPLOYMENT_READ = "deployment:read"
    DEPLOYMENT_DEPLOY = "deployment:deploy"
    DEPLOYMENT_ROLLBACK = "deployment:rollback"
    DEPLOYMENT_PAUSE = "deployment:pause"
    DEPLOYMENT_PREDICT = "deployment:predict"
    KEY_READ = "key:read"
    KEY_ISSUE = "key:issue"
    KEY_ROTATE = "key:rotate"  # a new secret for the same service
    KEY_REVOKE = "key:revoke"
    KEYS_READ = "keys:read"  # key-encryption keys: their numbers, never the keys
    KEYS_ROTATE = "keys:rotate"
    KEYS_MOVE = "keys:move"  # the signing key, to another provider
    GRANT_READ = "grant:read"
    GRANT_REQUEST = "grant:request"  # for oneself
    GRANT_APPROVE = "grant:approve"  # answer a request, with yes or no
    GRANT_REVOKE = "grant:revoke"
    GRANT_BREAK_GLASS = "grant:break-glass"  # open an emergency grant of one's own
    GRANT_ACCOUNT = "grant:account"  # say what was done under it
    GRANT_ACCEPT = "grant:accept"  # accept what was said
    ISSUER_READ = "issuer:read"
    ISSUER_ADD = "issuer:add"  # whose tokens are read
    ISSUER_REFRESH = "issuer:refresh"  # its public keys
    ISSUER_BIND = "issuer:bind"  # a token, a certificate or a client's own key proves a service
    ISSUER_REVOKE = "issuer:revoke"  # an issuer, or one binding
    SIGNER_READ = "signer:read"
    SIGNER_ADD = "signer:add"  # outside, whose provenance is believed
    SIGNER_REMOVE = "signer:remove"
    PROVIDER_READ = "provider:read"
    PROVIDER_ADD = "provider:add"  # through whom people may sign in
    PROVIDER_MAP = "provider:map"  # a group of its gives a role
    PROVIDER_BIND = "provider:bind"  # a subject of its is a person who is there already
    PROVIDER_REVOKE = "provider:revoke"  # a provider with its sessions, or one mapping
    USER_READ = "user:read"
    USER_INVITE = "user:invite"  # a person and their first grant
    USER_UPDATE = "user:update"  # one's own password, second factor and recovery codes
    USER_RESET = "user:reset"  # somebody's factors end, and a new invitation begins
    USER_REVOKE = "user:revoke"
    SESSION_READ = "session:read"
    SESSION_VERIFY = "session:verify"  # a fresh second factor for one's own session
    SESSION_REVOKE = "session:revoke"
    ACCESS_READ = "access:read"  # who may do what, and why
    REVIEW_READ = "review:read"
    REVIEW_OPEN = "review:open"
    REVIEW_ANSWER = "review:answer"  # keep or revoke what is reviewed
    REVIEW_CLOSE = "review:close"
    REVIEW_SCHEDULE = "review:schedule"
    POLICY_READ = "policy:read"
    POLICY_PROPOSE = "policy:propose"  # policies of the home's own, which somebody else must approve
    POLICY_APPROVE = "policy:approve"  # answer a proposal, with yes or no
    POLICY_REVERT = "policy:revert"  # to the packaged policies alone, at once
    PREDICTION_READ = "prediction:read"  # what the record keeps of predictions
    AUDIT_READ = "audit:read"
    AUDIT_VERIFY = "audit:verify"
    STATUS_READ = "status:read"


class Resource(msgspec.Struct, frozen=True):
    """What is acted on: `kind` is the part of the Action before the colon; empty name means the whole kind."""

    kind: str
    name: str = ""
    project: str = DEFAULT_PROJECT
    environment: Environment | None = None
    attributes: dict[str, str | int | bool] = {}

    def __str__(self) -> str:
        return f"{self.project}/{self.kind}:{self.name or '*'}"
