"""The version of the format in which parts of a job are stored with a supernet; until now it was 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031_versions"
down_revision = "0030_records"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("supernets", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.alter_column("supernets", "version", server_default=None)


def downgrade() -> None:
    op.drop_column("supernets", "version")
