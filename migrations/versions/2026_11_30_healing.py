"""Jobs heal: a stage and a verb of that name, and exports say which weights of a network they ship."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043_healing"
down_revision = "0042_counts"
branch_labels = None
depends_on = None

VERBS = ("pause", "resume", "stop", "cancel", "retry", "delete", "restore", "clone", "extend", "rerun")
STAGES = (
    *("check", "prepare data", "train supernet", "measure hardware", "fit predictors", "search"),
    "measure finalists",
)
# Table, column, name of its check, words before and after.
WORDS = (
    ("jobs", "stage", "stage", (*STAGES, "done"), (*STAGES, "heal", "done")),
    ("job_logs", "stage", "stage", (*STAGES, "done"), (*STAGES, "heal", "done")),
    ("jobs", "parent_verb", "verb", VERBS, (*VERBS, "heal")),
)
OLD, NEW = (
    "uq_exports_job_id_architecture_id_formats",
    "uq_exports_job_id_architecture_id_formats_weights",
)


def _allow(table: str, column: str, name: str, words: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    listed = ", ".join(map(repr, words))
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({listed})")


def upgrade() -> None:
    for table, column, name, _, words in WORDS:
        _allow(table, column, name, words)
    op.add_column("exports", sa.Column("weights", sa.String(length=20), server_default="unhealed", nullable=False))
    op.create_check_constraint(op.f("ck_exports_weights"), "exports", "weights IN ('unhealed', 'healed')")
    op.drop_constraint(OLD, "exports", type_="unique")
    op.create_unique_constraint(NEW, "exports", ["job_id", "architecture_id", "formats", "weights"])


def downgrade() -> None:
    op.execute("DELETE FROM exports WHERE weights <> 'unhealed'")
    op.drop_constraint(NEW, "exports", type_="unique")
    op.create_unique_constraint(OLD, "exports", ["job_id", "architecture_id", "formats"])
    op.drop_constraint(op.f("ck_exports_weights"), "exports", type_="check")
    op.drop_column("exports", "weights")
    op.execute("UPDATE jobs SET stage = 'measure finalists' WHERE stage = 'heal'")
    op.execute("UPDATE job_logs SET stage = 'measure finalists' WHERE stage = 'heal'")
    op.execute("UPDATE jobs SET parent_verb = 'rerun' WHERE parent_verb = 'heal'")
    for table, column, name, words, _ in WORDS:
        _allow(table, column, name, words)
