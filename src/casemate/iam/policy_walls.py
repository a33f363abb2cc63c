"""What a home's own policies cannot do, whoever approves them (ADR 18).

They add permits to the packaged ones, and forbids, and take nothing away: a packaged `forbid` wins over every permit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import cedarpy

from casemate.core import Action, InputError, Role
from casemate.iam.policy_records import MAX_TEXT

# The packaged policies alone decide on these, so that no policy can hide itself, stay against an owner's will, or keep
# what was given from being seen and taken back.
PACKAGED_ALONE = frozenset(
    {
        Action.POLICY_READ,
        Action.POLICY_PROPOSE,
        Action.POLICY_APPROVE,
        Action.POLICY_REVERT,
        Action.ACCESS_READ,
        Action.AUDIT_READ,
        Action.AUDIT_VERIFY,
        Action.STATUS_READ,
        Action.REVIEW_READ,
        Action.REVIEW_OPEN,
        Action.REVIEW_ANSWER,
        Action.REVIEW_CLOSE,
        Action.REVIEW_SCHEDULE,
        Action.KEY_READ,
        Action.KEY_REVOKE,
        Action.GRANT_READ,
        Action.GRANT_REVOKE,
        Action.GRANT_ACCOUNT,
        Action.ISSUER_READ,
        Action.ISSUER_REVOKE,
        Action.SIGNER_READ,
        Action.SIGNER_REMOVE,
        Action.PROVIDER_READ,
        Action.PROVIDER_REVOKE,
        Action.USER_READ,
        Action.USER_REVOKE,
        Action.USER_UPDATE,
        Action.SESSION_READ,
        Action.SESSION_VERIFY,
        Action.SESSION_REVOKE,
        Action.DATASET_REVOKE,
        Action.MODEL_REVOKE,
        Action.DEPLOYMENT_READ,
        Action.DEPLOYMENT_PAUSE,
    }
)
# Whoever may do these could give themselves all the rest: a home's own policies may forbid them and not permit them.
GIVING = frozenset(
    {
        Action.KEY_ISSUE,
        Action.KEY_ROTATE,
        Action.KEYS_READ,
        Action.KEYS_ROTATE,
        Action.KEYS_MOVE,
        Action.GRANT_REQUEST,
        Action.GRANT_APPROVE,
        Action.GRANT_BREAK_GLASS,
        Action.GRANT_ACCEPT,
        Action.ISSUER_ADD,
        Action.ISSUER_REFRESH,
        Action.ISSUER_BIND,
        Action.SIGNER_ADD,
        Action.PROVIDER_ADD,
        Action.PROVIDER_MAP,
        Action.PROVIDER_BIND,
        Action.USER_INVITE,
        Action.USER_RESET,
    }
)
# What protects people is undone by an owner, on record: a home's own policies may forbid it and give it to nobody else.
OWNERS_ALONE = frozenset({Action.DATASET_REIDENTIFY})

# The parser is native and keeps a place on its stack for each level: deeper text would end the whole process.
MAX_NESTED = 60  # brackets within each other
MAX_CHAINED = 300  # operators of one policy, each of which may be a level
UNREADABLE = (ValueError, RecursionError)  # what the parser and its plain form raise

_TOKENS = re.compile(r"""//[^\r\n]*|"(?:\\.|[^"\\])*"|;""")  # a comment, a text, or the end of a policy
_LEVELS = re.compile(_TOKENS.pattern + r"|[\[({]|[\])}]|&&|\|\||[-+*.!]|\bif\b")
_BEFORE = re.compile(r"(?:\s+|//[^\r\n]*)*")


def check_text(text: str) -> None:
    """Return if each policy keeps within the walls; whether it fits the schema is the loader's to say.

    Raises: InputError: policy-too-large, policy-invalid (no Cedar), policy-beyond-walls: naming the policy.
    """
    if len(text.encode()) > MAX_TEXT:
        raise InputError(f"A home's own policies have at most {MAX_TEXT} bytes.", code="policy-too-large")
    _check_levels(text)
    try:
        found: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
    except UNREADABLE as error:
        raise InputError(
            f"This is no Cedar that can be read: {place_of(text, error)}.", code="policy-invalid"
        ) from error
    for policy in found["staticPolicies"].values():
        name = str(policy.get("annotations", {}).get("id") or "without an @id")
        actions = _actions(policy["action"])
        if alone := sorted(actions & PACKAGED_ALONE):
            raise _beyond(name, f"the packaged policies alone decide on {', '.join(alone)}")
        if policy["effect"] == "permit":
            _check_permit(name, policy, actions)


def _check_levels(text: str) -> None:
    """Return if the parser can take it. Brackets in texts and comments are none, as for the parser. Raises: InputError."""
    nested = chained = 0
    for token in _LEVELS.finditer(text):
        said = token.group()
        if said in "[({":
            nested += 1
        elif said in "])}":
            nested = max(0, nested - 1)
        elif said == ";":
            chained = 0
        elif not said.startswith(("//", '"')):
            chained += 1
        if nested > MAX_NESTED or chained > MAX_CHAINED:
            raise InputError(
                f"The policy on line {_line_of(text, token.start())} nests too deeply: at most {MAX_NESTED} brackets within "
                f"each other, and {MAX_CHAINED} operators in one policy. Make several policies of it.",
                code="policy-invalid",
            )


def _check_permit(name: str, policy: dict[str, Any], actions: set[str]) -> None:
    if not actions:
        raise _beyond(name, 'a permit names its actions: action == Action::"dataset:read", or action in [...]')
    if giving := sorted(actions & GIVING):
        raise _beyond(name, f"a home's own policies cannot permit {', '.join(giving)}, which could give all the rest")
    if owners := sorted(actions & OWNERS_ALONE):
        raise _beyond(name, f"a home's own policies cannot permit {', '.join(owners)}, which is an owner's alone")
    principal = policy["principal"]
    entity = principal.get("entity") or principal.get("in", {}).get("entity") or {}
    kind, who = entity.get("type"), entity.get("id")
    if kind not in ("Role", "User", "Service"):
        raise _beyond(name, 'a permit says for whom: principal in Role::"auditor", or principal == Service::"svc_..."')
    if kind == "Role" and who not in set(Role):
        raise _beyond(name, f"there is no role {str(who)[:40]!r}: {', '.join(Role)}")


def _actions(scope: dict[str, Any]) -> set[str]:
    """Those that a policy names; none where it is about all."""
    entities = [*scope.get("entities", ()), *([scope["entity"]] if "entity" in scope else ())]
    return {str(entity["id"]) for entity in entities}


def place_of(text: str, error: Exception) -> str:
    """Which policy of a text cannot be read, by the line that it begins on, and what the parser said."""
    said = str(error).splitlines()[0][:300] if str(error) else "it cannot be read"
    for line, statement in _statements(text):
        try:
            cedarpy.PolicySet.from_str(statement)
        except UNREADABLE as found:
            return f"the policy that begins on line {line}: {str(found).splitlines()[0][:300]}"
    return said


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each piece up to its semicolon, with the line of its first word."""
    start = 0
    for token in _TOKENS.finditer(text):
        if token.group() == ";":
            yield _line_of(text, start), text[start : token.end()]
            start = token.end()
    if _TOKENS.sub("", text[start:]).strip():
        yield _line_of(text, start), text[start:]


def _line_of(text: str, start: int) -> int:
    found = _BEFORE.match(text, start)
    return text.count("\n", 0, found.end() if found else start) + 1


def _beyond(name: str, why: str) -> InputError:
    return InputError(f"The policy {name} cannot be the home's own: {why}.", code="policy-beyond-walls")
