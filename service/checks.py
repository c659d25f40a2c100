"""What is checked of a job before it is stored: whether it can be honoured at all."""

from __future__ import annotations

from sqlalchemy.orm import Session

from job.fit import stated_misfit
from job.paths import PathRefused, check_paths
from job.spec import JobSpec
from service.errors import Infeasible, InvalidRequest
from service.gradient import check_targets
from service.targets import check_target


def check(session: Session, spec: JobSpec) -> None:
    """Refuse what cannot be honoured before anything is stored.

    Raises:
        InvalidRequest: the space does not take the data, or a target is unknown or cannot do what is asked.
        Infeasible: it is proven that no network meets the limits on exact costs.
    """
    _check_possible(spec)
    check_target(session, spec)
    check_targets(session, spec)


def refuse_closed_paths(spec: JobSpec) -> None:
    """Refuse files that are not open to jobs.

    Raises:
        InvalidRequest: with the field.
    """
    try:
        check_paths(spec)
    except PathRefused as error:
        raise InvalidRequest(str(error)) from None


def _check_possible(spec: JobSpec) -> None:
    """Whether networks of the space take what the data source gives, and some meet the limits on exact costs."""
    from service.profile import limits_known_now, limits_stated, look_for_feasible, nearest_out

    space = spec.space()
    reason = stated_misfit(space, spec.data)
    if reason is not None:
        raise InvalidRequest(reason)
    limits = limits_known_now(limits_stated(spec.objectives, spec.constraints))
    if not limits:
        return
    verdict = look_for_feasible(space, limits)
    if verdict.answer != "infeasible":
        return
    nearest = nearest_out(verdict.nearest, limits)
    wanted = " and ".join(
        f"{o.metric} of {'at most' if o.goal == 'minimize' else 'at least'} {o.limit:g}" for o in limits
    )
    raise Infeasible(
        f"No architecture of {space.name} has {wanted}. {verdict.reason} The nearest is {nearest.architecture_id} with "
        f"{', '.join(f'{o.metric} {nearest.metrics[o.metric]}' for o in limits)}.{spec.supernet.kept_to}",
        limits={o.metric: o.limit for o in limits},
        nearest={"architecture_id": nearest.architecture_id, "values": nearest.values, **nearest.metrics},
    )
