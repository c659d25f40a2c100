"""A first stage, check."""

from __future__ import annotations

from alembic import op

revision = "0033_check"
down_revision = "0032_words"
branch_labels = None
depends_on = None

STAGES = ("prepare data", "train supernet", "measure hardware", "fit predictors", "search", "measure finalists", "done")
NAME = "ck_jobs_stage"


def upgrade() -> None:
    _allow("check", *STAGES)


def downgrade() -> None:
    op.execute("UPDATE jobs SET stage = 'prepare data' WHERE stage = 'check'")
    _allow(*STAGES)


def _allow(*stages: str) -> None:
    listed = ", ".join(f"'{stage}'" for stage in stages)
    op.drop_constraint(op.f(NAME), "jobs", type_="check")
    op.create_check_constraint(op.f(NAME), "jobs", f"stage IN ({listed})")
