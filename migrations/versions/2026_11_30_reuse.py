"""Jobs are found by the supernet that they reuse."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046_reuse"
down_revision = "0045_baselines"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_reuse"


def upgrade() -> None:
    op.create_index(INDEX, "jobs", [sa.text("(spec -> 'supernet' ->> 'reuse')")])


def downgrade() -> None:
    op.drop_index(INDEX, table_name="jobs")
