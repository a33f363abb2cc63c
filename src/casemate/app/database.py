"""What an administrator does to a home's database: roles, migration, and whether it is fit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from casemate.app.ground import home_of
from casemate.core import CasemateError, InputError
from casemate.settings import Settings
from casemate.storage import Home, HomeLock, migrate_home, reading
from casemate.storage.database_roles import apply_roles, role_names, role_statements
from casemate.storage.postgresql import shown_url


def database_roles(settings: Settings, prefix: str, *, apply: bool) -> dict[str, Any]:
    """The SQL that makes the roles of this home's processes; `apply`: run it as the settings' `database`.

    Raises: InputError `not-postgresql`, `bad-role`; StorageError.
    """
    home = home_of(settings)
    if home.database is not None:
        raise InputError(
            f"This home has its rows in {home.database}, which knows no roles: casemate init --database "
            "postgresql://... makes one that has.",
            code="not-postgresql",
        )
    statements = role_statements(home.database_url, prefix)
    if apply:
        engine = home.open_database()
        try:
            apply_roles(engine, statements)
        finally:
            engine.dispose()
    return {"roles": role_names(prefix), "sql": statements, "applied": apply}


def migrate_database(settings: Settings) -> dict[str, Any]:
    """Bring the database to this release's tables. Raises: ConflictError `home-locked`; StorageError."""
    home = home_of(settings)
    with HomeLock(home.path):
        old = migrate_home(home)
    return {"database": shown_database(home), "migrated_from": old}


def shown_database(home: Home) -> str:
    return shown_url(home.database_url) if home.database is None else str(home.database)


def examine_database(settings: Settings, home: Home) -> dict[str, Any]:
    """A row of `casemate doctor`."""
    row = {"name": "database", "state": "present", "mend": ""}
    if home.database is not None:
        return {**row, "detail": f"SQLite, {home.database}"}
    try:
        row["detail"] = shown_database(home)
        engine = home.open_database(read_only=True)
        try:
            with reading(engine) as connection:
                found = connection.execute(text("SELECT current_setting('server_version'), current_user")).one()
        finally:
            engine.dispose()
    except CasemateError as error:
        return {**row, "detail": row.get("detail", "PostgreSQL"), "state": "missing", "mend": error.message}
    own = [name for name in ("keeper", "control", "gateway") if getattr(settings, f"database_{name}")]
    return {
        **row,
        "detail": f"PostgreSQL {found[0]} as {found[1]}, {row['detail']}; roles of their own: {', '.join(own) or 'none'}",
    }
