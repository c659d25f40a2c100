"""Jobs have labels, notes, a priority, a parent, a time of grace before they go, and reasons of bad ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038_verbs"
down_revision = "0037_fronts"
branch_labels = None
depends_on = None

VERBS = ("pause", "resume", "stop", "cancel", "retry", "delete", "restore", "clone", "extend", "rerun")


def columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("labels", sa.ARRAY(sa.String(length=63)), server_default="{}", nullable=False),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("parent_id", sa.String(length=32), nullable=True),
        sa.Column("parent_verb", sa.String(length=20), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("interrupted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.JSON(), server_default="[]", nullable=False),
    )


def upgrade() -> None:
    for column in columns():
        op.add_column("jobs", column)
    op.create_check_constraint(op.f("ck_jobs_verb"), "jobs", f"parent_verb IN ({', '.join(map(repr, VERBS))})")
    op.create_foreign_key(op.f("fk_jobs_parent_id_jobs"), "jobs", "jobs", ["parent_id"], ["id"], ondelete="SET NULL")
    op.create_index(op.f("ix_jobs_labels"), "jobs", ["labels"], unique=False, postgresql_using="gin")
    op.create_index(op.f("ix_jobs_deleted_at"), "jobs", ["deleted_at"], unique=False)
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"], unique=False)


def downgrade() -> None:
    for name in ("parent_id", "deleted_at", "labels"):
        op.drop_index(op.f(f"ix_jobs_{name}"), table_name="jobs")
    op.drop_constraint(op.f("fk_jobs_parent_id_jobs"), "jobs", type_="foreignkey")
    op.drop_constraint(op.f("ck_jobs_verb"), "jobs", type_="check")
    for column in reversed(columns()):
        op.drop_column("jobs", column.name)
