"""Baselines are a stage, networks are measured again, and a job says its items and the bounds of its time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045_baselines"
down_revision = "0043_healing"
branch_labels = None
depends_on = None

VERBS = ("pause", "resume", "stop", "cancel", "retry", "delete", "restore", "clone", "extend", "rerun", "heal")
BEFORE = (
    *("check", "prepare data", "train supernet", "measure hardware", "fit predictors", "search"),
    "measure finalists",
)
STAGES = (*BEFORE, "heal", "done")
# Table, column, name of its check, words before and after.
WORDS = (
    ("jobs", "stage", "stage", STAGES, (*BEFORE, "measure baselines", "heal", "done")),
    ("job_logs", "stage", "stage", STAGES, (*BEFORE, "measure baselines", "heal", "done")),
    ("jobs", "parent_verb", "verb", VERBS, (*VERBS, "measure")),
)
COLUMNS: tuple[tuple[str, sa.types.TypeEngine[int | float]], ...] = (
    ("stage_done", sa.Integer()),
    ("stage_total", sa.Integer()),
    ("eta_low_seconds", sa.Double()),
    ("eta_high_seconds", sa.Double()),
)


def _allow(table: str, column: str, name: str, words: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    listed = ", ".join(map(repr, words))
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({listed})")


def upgrade() -> None:
    for table, column, name, _, words in WORDS:
        _allow(table, column, name, words)
    for column, kind in COLUMNS:
        op.add_column("jobs", sa.Column(column, kind, nullable=True))


def downgrade() -> None:
    for column, _ in reversed(COLUMNS):
        op.drop_column("jobs", column)
    op.execute("UPDATE jobs SET stage = 'measure finalists' WHERE stage = 'measure baselines'")
    op.execute("UPDATE job_logs SET stage = 'measure finalists' WHERE stage = 'measure baselines'")
    op.execute("UPDATE jobs SET parent_verb = 'rerun' WHERE parent_verb = 'measure'")
    for table, column, name, words, _ in WORDS:
        _allow(table, column, name, words)
