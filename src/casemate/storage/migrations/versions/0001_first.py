"""The first tables.

A migration never changes once it is released: it spells its tables out instead of taking today's.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _carried(*, with_project: bool = False) -> list[sa.Column[Any]]:
    """What every row carries from the first release on; a row about no one environment leaves that empty."""
    project = [sa.Column("project", sa.String(63), nullable=False, server_default="default")] if with_project else []
    return [
        *project,
        sa.Column("environment", sa.String(16)),
        sa.Column("schema", sa.Integer, nullable=False, server_default="1"),
    ]


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "assets",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        *_carried(),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(71), nullable=False, index=True),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("data_class", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("intent", sa.String(80), nullable=False, index=True),
        *_carried(),
        sa.UniqueConstraint("project", "kind", "name", "number"),
    )
    op.create_table(
        "blobs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("asset", sa.String(90), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        *_carried(),
    )
    op.create_table(
        "version_blobs",
        sa.Column("version_id", sa.String(40), sa.ForeignKey("versions.id"), primary_key=True),
        sa.Column("path", sa.String(512), primary_key=True),
        sa.Column("blob_id", sa.String(40), sa.ForeignKey("blobs.id"), nullable=False, index=True),
        *_carried(with_project=True),
    )
    op.create_table(
        "tags",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("tag", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        *_carried(),
    )
    op.create_table(
        "attestations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("version_digest", sa.String(71), nullable=False, index=True),
        sa.Column("predicate_type", sa.String(120), nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("intent", sa.String(80), nullable=False, index=True),
        *_carried(),
    )
    op.create_table(
        "ledger",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("previous", sa.String(71), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("intent", sa.String(80), nullable=False, index=True),
        *_carried(with_project=True),
    )
    op.create_table(
        "entries",
        sa.Column("seq", number, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(80), nullable=False, unique=True),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(80), nullable=False),
        sa.Column("resource", sa.String(160), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        *_carried(with_project=True),
    )
    op.create_index("entries_at", "entries", ["at"])
    op.create_index("entries_kind_at", "entries", ["kind", "seq"])
    op.create_index("entries_actor_at", "entries", ["actor", "seq"])
    op.create_table(
        "tiles",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("idx", number, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        *_carried(with_project=True),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", number, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        *_carried(with_project=True),
    )
