"""What a job has taken over from the one that it was made of, and so does not find out again."""

from __future__ import annotations

from pipeline.reporter import Reporter
from service.descent import TAKEN_OVER
from service.store.models import Stage, Verb
from service.store.records import FrontRecord, StageBegan


def has_front(reporter: Reporter) -> bool:
    """Whether the job's front is another job's, and stays as that one measured it."""
    return bool(reporter.records(FrontRecord)) and not _has_begun(reporter, Stage.MEASURE_FINALISTS)


def only_measures(reporter: Reporter) -> bool:
    """Whether the job's search counts as stopped because it measures another job's networks again, and not because
    anybody has asked for that (see `descent.rerun`)."""
    if reporter.job().parent_verb != Verb.RERUN or not _has_begun(reporter, Stage.MEASURE_FINALISTS):
        return False
    return all(row.epoch == TAKEN_OVER for row in reporter.every_evaluation())


def _has_begun(reporter: Reporter, stage: Stage) -> bool:
    return any(one.stage == stage for one in reporter.records(StageBegan))
