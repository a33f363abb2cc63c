"""What a binding asks of a token's claims: patterns, and what each kind of issuer must be asked for.

`*` stands for any characters but `/` and `:`, so a pattern never reaches into the next part of a subject or a ref. A
pattern that begins with `*` or has hardly a letter of its own would let in whoever the issuer knows, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from casemate.core import AuthError, InputError
from casemate.iam.tokens.records import IssuerKind

MAX_CLAIMS = 16
_MAX_PATTERN = 300  # characters
_LITERALS = 3  # letters or digits that a pattern must have beside its `*`
_CLAIM = re.compile(r"[A-Za-z0-9_]{1,64}")
_ACCOUNT = re.compile(r"system:serviceaccount:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?:[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_RESERVED = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
_PROJECT = {IssuerKind.GITHUB: "repository", IssuerKind.GITLAB: "project_path"}
_NARROWING = ("ref", "environment")  # of which a CI job's binding names one


def read_claims(text: str) -> dict[str, str]:
    """Patterns by claim, from a JSON object. Raises: InputError (bad-pattern)."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise _bad("its claims must be a JSON object of texts") from error


def checked_claims(kind: IssuerKind, claims: Mapping[str, str]) -> dict[str, str]:
    """Patterns by claim, as a binding to an issuer of this kind may have them. Raises: InputError (bad-pattern)."""
    if not 0 < len(claims) <= MAX_CLAIMS:
        raise _bad(f"name 1 to {MAX_CLAIMS} claims, as in --subject or --claim ref=refs/heads/main")
    for name, pattern in claims.items():
        if not _CLAIM.fullmatch(name) or name in _RESERVED:
            raise _bad(f"{name[:64]!r} is no claim that a binding may ask for")
        _check_pattern(name, pattern)
    if kind is IssuerKind.KUBERNETES and not _ACCOUNT.fullmatch(claims.get("sub", "")):
        raise _bad("a Kubernetes account is named whole: --subject system:serviceaccount:NAMESPACE:NAME")
    if kind is IssuerKind.GENERIC and "sub" not in claims:
        raise _bad("name whom its tokens speak of: --subject PATTERN")
    if kind.is_ci:
        _check_ci(kind, claims)
    return dict(sorted(claims.items()))


def _check_pattern(name: str, pattern: str) -> None:
    if not 0 < len(pattern) <= _MAX_PATTERN or not pattern.isprintable():
        raise _bad(f"the pattern for {name} is empty, too long, or not printable")
    if "*" in pattern:
        literal = pattern.removeprefix("refs/heads/").removeprefix("refs/tags/")
        least = _LITERALS if literal == pattern else 1
        if literal.startswith("*") or sum(one.isalnum() for one in literal) < least:
            raise _bad(f"the pattern for {name} would match nearly everything: write more of it")


def _check_ci(kind: IssuerKind, claims: Mapping[str, str]) -> None:
    project = _PROJECT[kind]
    owner, slash, name = claims.get(project, "").partition("/")
    if not slash or not name or "*" in owner or name == "*":
        raise _bad(f"name the project: --claim {project}=OWNER/NAME")
    if not any(one in claims for one in _NARROWING):
        raise _bad(
            "name the branch, tag or environment: --claim ref=refs/heads/main, or --claim environment=production"
        )


def fits(patterns: Mapping[str, str], claims: Mapping[str, Any]) -> bool:
    """Whether every pattern is met by a claim that is a text."""
    for name, pattern in patterns.items():
        value = claims.get(name)
        if not isinstance(value, str) or not _compiled(pattern).fullmatch(value):
            return False
    return True


def exactness(patterns: Mapping[str, str]) -> tuple[int, int]:
    """Of two bindings that fit one token, the one that says more counts."""
    return len(patterns), sum(len(pattern.replace("*", "")) for pattern in patterns.values())


def check_subject(kind: IssuerKind, claims: Mapping[str, Any]) -> None:
    """A CI token's subject must be the one that its other claims spell by default.

    Projects can have it made of other claims; then nobody can say what it stands for. Raises: AuthError (bad-subject).
    Source: GitHub, "OpenID Connect reference"; GitLab, "OpenID Connect (OIDC) authentication using ID tokens".
    """
    said = {name: str(value) for name, value in claims.items() if isinstance(value, str)}
    if kind is IssuerKind.GITHUB:
        expected = _github_subject(said)
    elif kind is IssuerKind.GITLAB:
        expected = f"project_path:{said.get('project_path')}:ref_type:{said.get('ref_type')}:ref:{said.get('ref')}"
    else:
        return
    if said.get("sub") != expected:
        raise AuthError(
            "This token's subject is not the issuer's default one: undo its customisation, and bind claims instead.",
            code="bad-subject",
        )


def _github_subject(said: Mapping[str, str]) -> str:
    repository = said.get("repository")
    if "environment" in said:
        return f"repo:{repository}:environment:{said['environment'].replace(':', '%3A')}"
    if said.get("event_name") in ("pull_request", "pull_request_target"):
        return f"repo:{repository}:pull_request"
    return f"repo:{repository}:ref:{said.get('ref')}"


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/:]*".join(re.escape(part) for part in pattern.split("*")))


def _bad(why: str) -> InputError:
    return InputError(f"This binding cannot be made: {why}.", code="bad-pattern")
