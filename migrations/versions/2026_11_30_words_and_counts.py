"""Scopes and kinds of uploads are words of a list; jobs count lost leases and seconds of stages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042_counts"
down_revision = "0041_export_formats"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint(op.f("ck_api_keys_scope"), "api_keys", "scope IN ('read', 'write', 'admin')")
    op.create_check_constraint(op.f("ck_uploads_uploadkind"), "uploads", "kind IN ('dataset', 'checkpoint')")
    op.add_column("jobs", sa.Column("lease_expiries", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("stage_seconds", sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "stage_seconds")
    op.drop_column("jobs", "lease_expiries")
    op.drop_constraint(op.f("ck_uploads_uploadkind"), "uploads", type_="check")
    op.drop_constraint(op.f("ck_api_keys_scope"), "api_keys", type_="check")
