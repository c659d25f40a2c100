"""Workers register, jobs say what they need of one, and their logs are rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039_workers"
down_revision = "0038_verbs"
branch_labels = None
depends_on = None

LEVELS = ("debug", "info", "warning", "error")
STAGES = (
    *("check", "prepare data", "train supernet", "measure hardware", "fit predictors", "search"),
    *("measure finalists", "done"),
)
NEEDS = ("needs_gpus", "needs_memory_gb", "needs_labels", "progressed_at")


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_seconds", sa.Float(), nullable=False),
        sa.Column("is_draining", sa.Boolean(), nullable=False),
        sa.Column("queues", sa.ARRAY(sa.String(length=100)), nullable=False),
        sa.Column("labels", sa.ARRAY(sa.String(length=63)), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "job_logs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("level", sa.String(length=20), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=40), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.CheckConstraint(_one_of("level", LEVELS), name=op.f("ck_job_logs_loglevel")),
        sa.CheckConstraint(_one_of("stage", STAGES), name=op.f("ck_job_logs_stage")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_logs_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_logs")),
    )
    op.create_index(op.f("ix_job_logs_job_id_id"), "job_logs", ["job_id", "id"], unique=False)
    op.create_index(op.f("ix_job_logs_at"), "job_logs", ["at"], unique=False)
    op.add_column("jobs", sa.Column("needs_gpus", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("needs_memory_gb", sa.Float(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("needs_labels", sa.ARRAY(sa.String(63)), server_default="{}", nullable=False))
    op.add_column("jobs", sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in NEEDS:
        op.drop_column("jobs", name)
    op.drop_table("job_logs")
    op.drop_table("workers")


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(map(repr, words))})"
