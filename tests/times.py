"""What a jump of the database's clock is to everybody, as nobody can change the clock of one process alone."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import DateTime, update
from sqlalchemy.orm import Session

from service.store.models import Base

# The audit trail is only added to, and nobody waits by its times.
LEFT = ("audit",)


def move_times(session: Session, seconds: float) -> None:
    """Let all that the database remembers be so much later: its clock was set back; earlier if negative: set ahead."""
    for table in Base.metadata.sorted_tables:
        names = [column.name for column in table.columns if isinstance(column.type, DateTime)]
        if names and table.name not in LEFT:
            moved = {name: table.columns[name] + timedelta(seconds=seconds) for name in names}
            session.execute(update(table).values(moved))
