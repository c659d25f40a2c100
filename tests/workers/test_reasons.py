"""Why a run failed: in words for the user, without SQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from job.spec import JobSpec
from supernet.data import DataError
from workers.reasons import reason_of


def raised(broken) -> Exception:
    try:
        broken()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (Path("/nowhere/x.png").read_bytes, "The worker cannot use /nowhere/x.png: No such file or directory."),
        (lambda: (_ for _ in ()).throw(DataError("2 of 8 images are empty.")), "2 of 8 images are empty."),
        (lambda: (_ for _ in ()).throw(MemoryError()), "Out of memory."),
        (lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")), "No room on the disk"),
        (lambda: JobSpec.model_validate({"recipe": "gone"}), "cannot be read by this installation: No recipe named"),
    ],
)
def test_what_winnow_can_know_is_said_in_its_words(broken, says: str) -> None:
    reason = reason_of(raised(broken))
    assert says in reason
    assert "Internal error" not in reason


def test_a_refused_statement_is_told_without_sql(database) -> None:
    def broken() -> None:
        with database.transaction() as session:
            session.execute(text("INSERT INTO jobs (id) VALUES (:x)"), {"x": "secret"})

    error = raised(broken)
    assert isinstance(error, SQLAlchemyError)
    reason = reason_of(error)
    assert "INSERT" not in reason
    assert "\n" not in reason
    assert "secret" not in reason


def test_a_mistake_of_ours_is_called_one() -> None:
    assert reason_of(raised(lambda: 1 / 0)) == "Internal error. ZeroDivisionError: division by zero"
    assert isinstance(raised(lambda: JobSpec.model_validate({"recipe": 7})), ValidationError)
