"""`casemate provider ...`: outside OpenID Connect providers through whom people sign in."""

from __future__ import annotations

from pathlib import Path

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import Role

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.group()
def provider() -> None:
    """Outside OpenID Connect providers through whom people sign in."""


@provider.command("add")
@click.argument("name")
@click.option("--issuer", required=True, help="Its address, as it names itself: https://...")
@click.option("--client-id", required=True, help="What it calls this control plane.")
@click.option(
    "--client-secret-from", "secret", required=True, metavar="REF", help="file:///PATH, env://OIDC_NAME, vault://..."
)
@click.option(
    "--client-auth", type=click.Choice(["client_secret_basic", "private_key_jwt"]), default="client_secret_basic"
)
@click.option("--display", default="", help="Its name on the sign-in page.  [default: NAME]")
@click.option(
    "--provider-ca",
    "ca",
    type=click.Path(path_type=Path),
    help="Its certificate authority (PEM).  [default: the system's]",
)
@click.option(
    "--alg", "algorithms", multiple=True, help="Of its ID tokens; repeatable.  [default: RS256, ES256, PS256]"
)
@click.option("--scope", "scopes", multiple=True, help="To ask for beside openid; repeatable.")
@click.option("--groups-claim", default="groups", show_default=True, help="Where it names a person's groups.")
@click.option("--require-acr", "acr", multiple=True, help="What its acr must be; repeatable.")
@click.option(
    "--require-amr", "amr", multiple=True, help="One that its amr must hold; repeatable.  [default: mfa, otp, hwk]"
)
@_reason
@json_option
@pass_session
def add(
    session: Session,
    name: str,
    issuer: str,
    client_id: str,
    secret: str,
    client_auth: str,
    display: str,
    ca: Path | None,
    algorithms: tuple[str, ...],
    scopes: tuple[str, ...],
    groups_claim: str,
    acr: tuple[str, ...],
    amr: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Let people sign in through a provider. Nobody has a role by that until `provider map` says so."""
    pem = ca.read_text(encoding="ascii", errors="replace") if ca else ""
    with session.client() as casemate:
        result = casemate.providers.add(
            name,
            issuer=issuer,
            client_id=client_id,
            secret=secret,
            client_auth=client_auth,
            display=display,
            ca=pem,
            algorithms=list(algorithms),
            scopes=list(scopes),
            groups_claim=groups_claim,
            acr=list(acr),
            amr=list(amr),
            reason=reason,
        )
    output.show(result, as_json, output.facts)


@provider.command("map")
@click.argument("name")
@click.argument("group")
@click.option("--role", type=click.Choice([one.value for one in Role]), required=True)
@click.option("--on", "scope", required=True, help="deployment:NAME, model:NAME, dataset:NAME or *.")
@click.option("--environment", type=click.Choice(["dev", "staging", "production"]), help="Only there.")
@click.option("--for", "life", default="90d", show_default=True, help="How long the mapping counts.")
@_reason
@json_option
@pass_session
def map_group(
    session: Session,
    name: str,
    group: str,
    role: str,
    scope: str,
    environment: str | None,
    life: str,
    reason: str,
    as_json: bool,
) -> None:
    """Let members of GROUP at the provider have a role while they are signed in through it."""
    with session.client() as casemate:
        result = casemate.providers.map(
            name, group, role=role, on=scope, environment=environment, life=life, reason=reason
        )
    output.show(result, as_json, output.facts)


@provider.command("bind")
@click.argument("name")
@click.argument("user")
@click.option("--subject", required=True, help="What the provider calls them in `sub`, exactly.")
@_reason
@json_option
@pass_session
def bind(session: Session, name: str, user: str, subject: str, reason: str, as_json: bool) -> None:
    """Let a subject of the provider be the person USER, who is there already."""
    with session.client() as casemate:
        output.show(casemate.providers.bind(name, user, subject, reason=reason), as_json, output.facts)


@provider.command("list")
@json_option
@pass_session
def list_providers(session: Session, as_json: bool) -> None:
    """All providers."""
    with session.client() as casemate:
        rows = casemate.providers.all()
    columns = {name: name for name in ("id", "name", "issuer", "client_id", "created_at")}
    empty = "No provider yet: casemate provider add NAME --issuer URL --client-id ID --client-secret-from REF"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@provider.command("show")
@click.argument("name")
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """One provider: what it must say, what its groups give, and the redirect URI to register there."""
    with session.client() as casemate:
        output.show(casemate.providers.show(name), as_json, output.facts)


@provider.command("revoke")
@click.argument("name")
@_reason
@json_option
@pass_session
def revoke(session: Session, name: str, reason: str, as_json: bool) -> None:
    """End a provider with all its sessions and roles, or one mapping by its id, now."""
    with session.client() as casemate:
        output.show(casemate.providers.revoke(name, reason=reason), as_json, output.facts)
