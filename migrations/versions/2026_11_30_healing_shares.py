"""Networks of a job that heals which other workers may heal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0048_healing_shares"
down_revision = "0046_reuse"
branch_labels = None
depends_on = None

STATES = ("queued", "running", "succeeded", "failed")


def upgrade() -> None:
    op.create_table(
        "healing_shares",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("architecture_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(*STATES, name="exportstate", native_enum=False, create_constraint=True, length=20),
            nullable=False,
        ),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_healing_shares_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_healing_shares")),
        sa.UniqueConstraint("job_id", "architecture_id", name=op.f("uq_healing_shares_job_id_architecture_id")),
    )


def downgrade() -> None:
    op.drop_table("healing_shares")
