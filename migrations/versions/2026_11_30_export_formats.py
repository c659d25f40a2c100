"""Exports name their formats; a network may have one export for each choice of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041_export_formats"
down_revision = "0040_webhooks"
branch_labels = None
depends_on = None

OLD, NEW = "uq_exports_job_id_architecture_id", "uq_exports_job_id_architecture_id_formats"


def upgrade() -> None:
    op.add_column("exports", sa.Column("formats", sa.Text(), server_default="", nullable=False))
    op.drop_constraint(OLD, "exports", type_="unique")
    op.create_unique_constraint(NEW, "exports", ["job_id", "architecture_id", "formats"])


def downgrade() -> None:
    op.execute("DELETE FROM exports WHERE formats <> ''")
    op.drop_constraint(NEW, "exports", type_="unique")
    op.create_unique_constraint(OLD, "exports", ["job_id", "architecture_id"])
    op.drop_column("exports", "formats")
