"""Architectures of a running search that any worker may evaluate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020_shared_evaluations"
down_revision = "0010_targets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shared_evaluations",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("architecture_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sources", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_shared_evaluations_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "architecture_id", name=op.f("pk_shared_evaluations")),
    )


def downgrade() -> None:
    op.drop_table("shared_evaluations")
