"""Least privilege in PostgreSQL: a role for each process, with what it needs of each table and nothing else.

Nobody's role may update or delete what the audit log or the signed state consists of. The owner of the tables could, and
gets its URL from `database` for `init`, `migrate` and `roles` alone: no process of `casemate up` needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Engine

from casemate.core import InputError
from casemate.storage.database import METADATA
from casemate.storage.postgresql import checked_url

PROCESSES = ("keeper", "control", "gateway")
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,40}")
_READ, _APPEND = ("SELECT",), ("SELECT", "INSERT")
_NONE: tuple[str, ...] = ()
_REVISION = "alembic_version"

# Table -> what keeper, control and gateway may do with it, in this order. A table that is missing here stops the command.
RIGHTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "entries": (_APPEND, _READ, _READ),
    "tiles": (_APPEND, _READ, _READ),
    "checkpoints": (_APPEND, _READ, _READ),
    "ledger": (_APPEND, _READ, _READ),
    "blobs": (("SELECT", "UPDATE (wrapped_key)"), ("SELECT", "INSERT", "DELETE"), _READ),
    "versions": (_READ, ("SELECT", "INSERT", "UPDATE (state, intent)"), _READ),
    "version_blobs": (_READ, ("SELECT", "INSERT", "DELETE"), _READ),
    "attestations": (_READ, ("SELECT", "INSERT", "DELETE"), _READ),
    "assets": (_READ, _APPEND, _NONE),
    "tags": (_READ, ("SELECT", "INSERT", "UPDATE", "DELETE"), _NONE),
    "people_rows": (_READ, ("SELECT", "INSERT", "UPDATE", "DELETE"), _NONE),
    _REVISION: (_READ, _READ, _READ),
}


def role_names(prefix: str) -> dict[str, str]:
    """Process -> role. Raises: InputError `bad-role`."""
    if not _PREFIX.fullmatch(prefix):
        raise InputError("A prefix of roles is a small letter, then small letters, digits or _.", code="bad-role")
    return {process: f"{prefix}_{process}" for process in PROCESSES}


def role_statements(url: str, prefix: str) -> list[str]:
    """SQL that makes the roles, without passwords, and gives them their rights; run again, it puts them right.

    Raises: InputError `bad-role`, `bad-database`.
    """
    roles, database = role_names(prefix), _quoted(checked_url(url).database or "")
    missing = METADATA.tables.keys() - RIGHTS.keys()
    assert not missing, f"nobody has said who may use {missing}"
    return [
        *(_made(role) for role in roles.values()),
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {', '.join(roles.values())}",
        f"GRANT USAGE ON SCHEMA public TO {', '.join(roles.values())}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {', '.join(roles.values())}",
        *_grants(roles),
        f"ALTER ROLE {roles['gateway']} IN DATABASE {database} SET default_transaction_read_only = on",
    ]


def apply_roles(engine: Engine, statements: list[str]) -> None:
    """Run them together, or none. Raises: StorageError `database-role`: this role may not make others."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _made(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} LOGIN"
        " NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS; END IF; END $$"
    )


def _grants(roles: dict[str, str]) -> Iterator[str]:
    for table, rights in RIGHTS.items():
        for process, verbs in zip(PROCESSES, rights, strict=True):
            if verbs:
                yield f"GRANT {', '.join(verbs)} ON {table} TO {roles[process]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
