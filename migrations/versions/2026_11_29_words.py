"""States, stages and sources are words that the schema knows; rows that have another are refused."""

from __future__ import annotations

from alembic import op

revision = "0032_words"
down_revision = "0031_versions"
branch_labels = None
depends_on = None

JOB_STATES = ("queued", "running", "pausing", "paused", "stopping", "cancelling", "cancelled", "succeeded", "failed")
EXPORT_STATES = ("queued", "running", "succeeded", "failed")
STAGES = (
    "prepare data",
    "train supernet",
    "measure hardware",
    "fit predictors",
    "search",
    "measure finalists",
    "done",
)
# Table, column, name of the check, words.
WORDS = (
    ("jobs", "state", "jobstate", JOB_STATES),
    ("jobs", "stage", "stage", STAGES),
    ("exports", "state", "exportstate", EXPORT_STATES),
    ("measurements", "state", "exportstate", EXPORT_STATES),
)
WITH_SOURCES = ("evaluations", "shared_evaluations", "finalists")
# Every value of the JSON object is one of the three words.
SOURCES = """NOT jsonb_path_exists(CAST(sources AS jsonb),
    '$.* ? (@ != "analytic" && @ != "predicted" && @ != "measured")')"""


def upgrade() -> None:
    for table, column, name, words in WORDS:
        listed = ", ".join(f"'{word}'" for word in words)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({listed})")
    for table in WITH_SOURCES:
        op.create_check_constraint(op.f(f"ck_{table}_sources"), table, SOURCES)


def downgrade() -> None:
    for table in WITH_SOURCES:
        op.drop_constraint(op.f(f"ck_{table}_sources"), table, type_="check")
    for table, _, name, _ in WORDS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
