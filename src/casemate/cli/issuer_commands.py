"""`casemate issuer ...`: what proves a service beside an API key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError, Role

_KINDS = ("generic", "kubernetes", "github", "gitlab")
_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


def _service(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a binding gives."""
    for option in reversed(
        (
            click.option("--role", type=click.Choice([one.value for one in Role]), required=True),
            click.option("--on", "scope", required=True, help="deployment:NAME, model:NAME, dataset:NAME or *."),
            click.option("--expires", default="90d", show_default=True, help="As in 1h or 90d; at most 366d."),
            click.option("--environment", type=click.Choice(["dev", "staging", "production"]), help="Only there."),
            click.option("--rate", metavar="N/s", help="Requests a second."),
            _reason,
        )
    ):
        command = option(command)
    return command


@click.group()
def issuer() -> None:
    """Tokens of other issuers, certificates and clients' own keys: what proves a service beside an API key."""


@issuer.command("add")
@click.argument("name")
@click.option("--audience", required=True, help="What its tokens must name as their audience, exactly.")
@click.option("--issuer", "url", help="Its address, as its tokens name it: https://...  [default: that of the kind]")
@click.option("--jwks", default="", metavar="FILE|URL", help="Its public keys.  [default: where the kind has them]")
@click.option("--alg", "algorithms", default="", metavar="A,B", help="Algorithms of its tokens, as in ES256,RS256.")
@click.option("--kind", type=click.Choice(_KINDS), default="generic", show_default=True)
@_reason
@json_option
@pass_session
def add(
    session: Session,
    name: str,
    audience: str,
    url: str | None,
    jwks: str,
    algorithms: str,
    kind: str,
    reason: str,
    as_json: bool,
) -> None:
    """Read the tokens of an issuer. They prove nobody until `issuer bind` says whom."""
    keys: bytes | str = jwks if jwks.startswith("https://") or not jwks else Path(jwks).read_bytes()
    with session.client() as casemate:
        result = casemate.issuers.add(
            name,
            audience=audience,
            kind=kind,
            issuer=url,
            algorithms=algorithms.replace(",", " ").split(),
            jwks=keys,
            reason=reason,
        )
    output.show(result, as_json, output.facts)


@issuer.command("list")
@json_option
@pass_session
def list_issuers(session: Session, as_json: bool) -> None:
    """All issuers whose tokens are read."""
    with session.client() as casemate:
        rows = casemate.issuers.all()
    columns = {name: name for name in ("id", "name", "kind", "issuer", "audience", "keys_recorded_at")}
    empty = "No issuer yet: casemate issuer add NAME --issuer URL --audience A --jwks FILE"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@issuer.command("bindings")
@json_option
@pass_session
def bindings(session: Session, as_json: bool) -> None:
    """All that proves a service beside a key, and when it was last used."""
    with session.client() as casemate:
        rows = casemate.issuers.bindings()
    columns = {name: name for name in ("id", "name", "proved_by", "role", "scope", "state", "expires_at")}
    columns |= {"last_used_at": "last used", "last_used_from": "from"}
    output.show(rows, as_json, lambda value: output.table(value, columns, empty="Nothing is bound yet."))


@issuer.command("show")
@click.argument("name")
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """One issuer, and the services that its tokens prove."""
    with session.client() as casemate:
        output.show(casemate.issuers.show(name), as_json, output.facts)


@issuer.command("refresh")
@click.argument("name")
@click.option("--jwks", type=click.Path(path_type=Path), help="A file with its keys.  [default: from its address]")
@_reason
@json_option
@pass_session
def refresh(session: Session, name: str, jwks: Path | None, reason: str, as_json: bool) -> None:
    """Read an issuer's public keys anew; those that it does not name any more count no more."""
    keys = jwks.read_bytes() if jwks else b""
    with session.client() as casemate:
        output.show(casemate.issuers.refresh(name, jwks=keys, reason=reason), as_json, output.facts)


@issuer.command("bind")
@click.argument("issuer_name", metavar="ISSUER")
@click.option("--subject", help="Whom a token must speak of; * stands for anything but / and :.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=PATTERN", help="What else it must say; repeatable.")
@click.option("--name", help="Of the service.  [default: the issuer's]")
@_service
@json_option
@pass_session
def bind(
    session: Session, /, issuer_name: str, subject: str | None, claims: tuple[str, ...], name: str | None, **rest: Any
) -> None:
    """Let tokens of ISSUER that say this be a service, with a role, until it expires."""
    wanted = {"sub": subject} if subject else {}
    for claim in claims:
        key, equals, pattern = claim.partition("=")
        if not equals or key in wanted:
            raise InputError(f"{claim[:80]!r} is no NAME=PATTERN, or comes twice.", code="bad-pattern")
        wanted[key] = pattern
    as_json, service = _given(rest)
    with session.client() as casemate:
        result = casemate.issuers.bind_token(issuer_name, name or issuer_name, claims=wanted, **service)
    output.show(result, as_json, output.facts)


@issuer.command("certificate")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--san", help="FILE is an authority: its certificates that bear this name, URI:... or DNS:...")
@_service
@json_option
@pass_session
def certificate(session: Session, /, name: str, file: Path, san: str | None, **rest: Any) -> None:
    """Let the client certificate in FILE (PEM) be the service NAME."""
    as_json, service = _given(rest)
    with session.client() as casemate:
        output.show(
            casemate.issuers.bind_certificate(name, file.read_bytes(), san=san, **service), as_json, output.facts
        )


@issuer.command("key")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@_service
@json_option
@pass_session
def client_key(session: Session, /, name: str, file: Path, **rest: Any) -> None:
    """Let whoever signs with a key of the set in FILE (public JWKS) be the service NAME: private_key_jwt."""
    as_json, service = _given(rest)
    with session.client() as casemate:
        output.show(casemate.issuers.bind_client_key(name, file.read_bytes(), **service), as_json, output.facts)


@issuer.command("revoke")
@click.argument("name")
@_reason
@json_option
@pass_session
def revoke(session: Session, name: str, reason: str, as_json: bool) -> None:
    """End an issuer, and all that its tokens prove, at every gateway."""
    with session.client() as casemate:
        output.show(casemate.issuers.revoke(name, reason=reason), as_json, output.facts)


@issuer.command("unbind")
@click.argument("binding_id", metavar="ID")
@_reason
@json_option
@pass_session
def unbind(session: Session, binding_id: str, reason: str, as_json: bool) -> None:
    """End one binding at every gateway."""
    with session.client() as casemate:
        output.show(casemate.issuers.revoke_binding(binding_id, reason=reason), as_json, output.facts)


def _given(options: dict[str, Any]) -> tuple[bool, dict[str, str | None]]:
    names = {"role": "role", "scope": "on", "expires": "expires", "environment": "environment", "rate": "rate"}
    service = {told: options[name] for name, told in names.items()}
    return bool(options["as_json"]), {**service, "reason": options["reason"]}
