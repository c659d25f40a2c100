"""Finalists have intervals and need no position; every finished job gets its front, made once from measured values.

The code below is a copy of no module: what a front was made of then must not change with the program.
"""

from __future__ import annotations

import json
import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0037_fronts"
down_revision = "0034_access"
branch_labels = None
depends_on = None

# Metrics of which more is better, and those whose values span decades, with how many count and what is negligible.
MAXIMIZED = {
    "accuracy",
    "tokens_per_second",
    "label_gradient_alignment",
    "task_accuracy",
    "task_accuracy_norm",
    "task_accuracy_bytes",
}
DECADES = {"perplexity": (1, 0.0), "kl_divergence": (2, 0.01)}
FINALISTS = """
SELECT f.architecture_id, e.metrics AS scored, f.metrics AS measured
FROM finalists f JOIN evaluations e USING (job_id, architecture_id)
WHERE f.job_id = :job_id ORDER BY f.position
"""
RECORD = """
INSERT INTO job_records (job_id, kind, key, number, version, data)
VALUES (:job_id, 'front', '[]', 1, 1, CAST(:data AS json)) ON CONFLICT DO NOTHING
"""
PLACE = "UPDATE finalists SET position = :position WHERE job_id = :job_id AND architecture_id = :architecture_id"


def upgrade() -> None:
    op.add_column("finalists", sa.Column("intervals", sa.JSON(), nullable=True))
    op.alter_column("finalists", "position", existing_type=sa.Integer(), nullable=True)
    connection = op.get_bind()
    jobs = connection.execute(sa.text("SELECT id, spec FROM jobs WHERE state = 'succeeded'")).all()
    for job_id, spec in jobs:
        rows = connection.execute(sa.text(FINALISTS), {"job_id": job_id}).all()
        if not rows:
            continue
        networks = {row.architecture_id: {**row.scored, **row.measured} for row in rows}
        record = front_of(networks, spec.get("objectives", []), spec.get("constraints") or [])
        connection.execute(sa.text(RECORD), {"job_id": job_id, "data": json.dumps(record)})
        places = {point["architecture_id"]: place for place, point in enumerate(record["points"], 1)}
        for name in networks:
            values = {"job_id": job_id, "architecture_id": name, "position": places.get(name)}
            connection.execute(sa.text(PLACE), values)


def front_of(
    networks: dict[str, dict[str, Any]], objectives: list[dict[str, Any]], constraints: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of a front: networks that keep all limits and that no other dominates, and the others."""
    costs, beyond = {}, []
    for name, metrics in networks.items():
        breaks = [found for part in (*objectives, *constraints) if (found := _break(part, metrics)) is not None]
        if breaks:
            beyond.append({"architecture_id": name, "breaks": breaks})
        else:
            costs[name] = [_cost(part["metric"], metrics[part["metric"]]) for part in objectives]
    names = list(costs)
    by = {name: _beaten_by(name, names, costs) for name in names}
    points = sorted((name for name in names if by[name] is None), key=lambda name: costs[name])
    return {
        "points": [{"architecture_id": name, "rivals": []} for name in points],
        "knee": _knee(points, networks, objectives),
        "reference": None,
        "beaten": [{"architecture_id": name, "by": _on_front(name, by)} for name in names if by[name] is not None],
        "beyond": beyond,
        "hypervolume": None,
        "worst": {},
        "stable": True,
        "predictions": [],
    }


def _cost(metric: str, value: float) -> float:
    return -value if metric in MAXIMIZED else value


def _break(part: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any] | None:
    metric, limit, value = part["metric"], part.get("limit"), metrics.get(part["metric"])
    if value is None:
        return {"metric": metric, "limit": limit, "value": None, "by": None}
    if limit is None or _cost(metric, value) <= _cost(metric, limit):
        return None
    by = (_cost(metric, value) - _cost(metric, limit)) / max(abs(limit), 1e-12)
    return {"metric": metric, "limit": limit, "value": value, "by": by}


def _beaten_by(name: str, names: list[str], costs: dict[str, list[float]]) -> str | None:
    """Another network that is at least as good in everything; of equal ones the first beats the others."""
    own, place = costs[name], names.index(name)
    for at, other in enumerate(names):
        theirs = costs[other]
        if other != name and all(a <= b for a, b in zip(theirs, own, strict=True)) and (theirs != own or at < place):
            return other
    return None


def _on_front(name: str, by: dict[str, str | None]) -> str:
    """Who beats a network and is beaten by none."""
    while (better := by[name]) is not None:
        name = better
    return name


def _knee(points: list[str], networks: dict[str, dict[str, Any]], objectives: list[dict[str, Any]]) -> str | None:
    distance = dict.fromkeys(points, 0.0)
    for part in objectives:
        metric = part["metric"]
        values = {name: float(networks[name][metric]) for name in points}
        low, high, most = min(values.values(), default=0.0), max(values.values(), default=0.0), math.inf
        if metric in DECADES and low >= 0:
            most, negligible = DECADES[metric]
            values = {name: math.log10(max(value, negligible, 1e-300)) for name, value in values.items()}
        elif low > 0 and high >= 100 * low:
            values = {name: math.log10(value) for name, value in values.items()}
        costs = {name: _cost(metric, value) for name, value in values.items()}
        best, worst = min(costs.values(), default=0.0), max(costs.values(), default=0.0)
        for name in points:
            distance[name] += ((costs[name] - best) / (min(worst - best, most) or 1.0)) ** 2
    return min(points, key=lambda name: distance[name], default=None)


def downgrade() -> None:
    op.execute("DELETE FROM job_records WHERE kind = 'front'")
    op.execute("DELETE FROM finalists WHERE position IS NULL")
    op.alter_column("finalists", "position", existing_type=sa.Integer(), nullable=False)
    op.drop_column("finalists", "intervals")
