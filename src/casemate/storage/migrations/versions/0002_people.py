"""What is known of people from moment to moment: sessions, attempts to sign in, steps of one-time codes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "people_rows",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("principal", sa.String(80), nullable=False, index=True),
        sa.Column("ends_at", sa.String(27), nullable=False, index=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("project", sa.String(63), nullable=False, server_default="default"),
        sa.Column("environment", sa.String(16)),
        sa.Column("schema", sa.Integer, nullable=False, server_default="1"),
    )
