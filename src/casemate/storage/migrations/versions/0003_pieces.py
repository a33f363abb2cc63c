"""A file of a version is one blob or more, in order."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("version_blobs", sa.Column("piece", sa.Integer, nullable=False, server_default="0"))
        op.drop_constraint("version_blobs_pkey", "version_blobs", type_="primary")
        op.create_primary_key("version_blobs_pkey", "version_blobs", ["version_id", "path", "piece"])
        return
    op.rename_table("version_blobs", "version_blobs_before")  # SQLite cannot change a primary key
    op.drop_index("ix_version_blobs_blob_id")
    op.create_table(
        "version_blobs",
        sa.Column("version_id", sa.String(40), sa.ForeignKey("versions.id"), primary_key=True),
        sa.Column("path", sa.String(512), primary_key=True),
        sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False, server_default="0"),
        sa.Column("blob_id", sa.String(40), sa.ForeignKey("blobs.id"), nullable=False, index=True),
        sa.Column("project", sa.String(63), nullable=False, server_default="default"),
        sa.Column("environment", sa.String(16)),
        sa.Column("schema", sa.Integer, nullable=False, server_default="1"),
    )
    op.execute(
        "INSERT INTO version_blobs (version_id, path, blob_id, project, environment, schema)"
        " SELECT version_id, path, blob_id, project, environment, schema FROM version_blobs_before"
    )
    op.drop_table("version_blobs_before")
