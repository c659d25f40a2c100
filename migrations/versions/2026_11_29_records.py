"""Records of jobs as rows of their own; what events hold of them is copied, and the events stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0030_records"
down_revision = "0020_shared_evaluations"
branch_labels = None
depends_on = None

# Event, and phase of a search by gradient -> kind of the record, the fields that name it, whether the last one counts.
KINDS: dict[tuple[str, str | None], tuple[str, tuple[str, ...], bool]] = {
    ("curve", None): ("curve point", ("epoch",), True),
    ("predictor", None): ("predictor", ("metric",), False),
    ("sensitivity", None): ("sensitivity", (), False),
    ("baseline", None): ("baseline", ("name",), False),
    ("baseline score", None): ("baseline score", ("values",), False),
    ("gradient", "prices"): ("prices", ("target",), False),
    ("gradient", "search"): ("search point", ("run", "epoch"), True),
    ("gradient", "derived"): ("derived", ("run",), False),
    ("gradient", "train"): ("training point", ("run", "epoch"), True),
    ("gradient", "measured"): ("measured", ("run",), False),
    ("gradient", "cross"): ("cross", (), False),
}
KEY_LENGTH = 64
# Rows that are inserted in one statement, and read from the server at a time.
CHUNK = 1000


def upgrade() -> None:
    records = op.create_table(
        "job_records",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_records_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "kind", "key", name=op.f("pk_job_records")),
    )
    events = sa.table(
        "job_events",
        sa.column("job_id", sa.String),
        sa.column("seq", sa.BigInteger),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("kind", sa.String),
        sa.column("data", sa.JSON),
    )
    told = (
        sa.select(events.c.job_id, events.c.created_at, events.c.kind, events.c.data)
        .where(events.c.kind.in_({event for event, _ in KINDS}))
        .order_by(events.c.job_id, events.c.seq)
    )
    connection = op.get_bind()
    # One job's records are in memory at a time.
    rows = connection.execute(told.execution_options(yield_per=CHUNK))
    for _, of_job in groupby(rows, key=lambda row: row.job_id):
        found = list(_records(of_job))
        for start in range(0, len(found), CHUNK):
            connection.execute(sa.insert(records), found[start : start + CHUNK])


def _records(events: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Records of one job from its events, in the order in which they were first told."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for job_id, created_at, event, told in events:
        data = dict(told)
        phase = data.pop("phase", None) if event == "gradient" else None
        if (event, phase) not in KINDS:
            continue
        kind, named_by, last_counts = KINDS[event, phase]
        key = _key([data[field] for field in named_by])
        if (known := found.get((kind, key))) is not None:
            if last_counts:
                known["data"] = data
            continue
        numbers[kind] = number = numbers.get(kind, 0) + 1
        row = {"job_id": job_id, "kind": kind, "key": key, "number": number, "version": 1, "data": data}
        found[kind, key] = {**row, "created_at": created_at}
    yield from found.values()


def _key(name: list[Any]) -> str:
    text = json.dumps(name, sort_keys=True)
    return text if len(text) <= KEY_LENGTH else hashlib.sha256(text.encode()).hexdigest()


def downgrade() -> None:
    op.drop_table("job_records")
