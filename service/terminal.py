"""What the command line shows: progress, tables and a plot of the front."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from service.client import Client
from service.plain import make_table, plain, visible, whole

if TYPE_CHECKING:
    from service.profile import Feasibility, ProfileOut

PLOT_WIDTH, PLOT_HEIGHT = 64, 14

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
    "running": "cyan",
    "stopping": "cyan",
    "paused": "yellow",
}


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


# A time that is not known exactly is said in a unit and in steps of it, as long as it is below a limit; all in seconds.
SPANS = ((1, 5, 90.0, "s"), (60, 60, 5400.0, "min"), (3600, 1800, 129_600.0, "h"), (86_400, 43_200, math.inf, "d"))


def between(low: float, high: float) -> str:
    """A time between two bounds, as people say it: "12 to 18 min". The pages say it alike (`format.js`)."""
    unit, step, _, word = next(span for span in SPANS if high < span[2])
    start, end = (math.floor(seconds / step + 0.5) * step / unit for seconds in (low, high))
    most = max(end, step / unit)
    if start >= most:
        return f"about {most:g} {word}"
    return f"{start:g} to {most:g} {word}" if start > 0 else f"up to {most:g} {word}"


def left(job: Mapping[str, Any]) -> str:
    """How long a running job still takes, with its bounds; empty: nobody knows, or it does not run."""
    likely, low, high = (job.get(name) for name in ("eta_seconds", "eta_low_seconds", "eta_high_seconds"))
    if job["state"] != "running" or likely is None:
        return ""
    return f"about {duration(likely)}" if low is None or high is None else between(low, high)


def amount(metric: str, value: float | None) -> str:
    """A metric's value with its unit, short."""
    if value is None:
        return "-"
    if "accuracy" in metric:
        return f"{100 * value:.2f} %"
    if metric.endswith("latency_ms"):
        return f"{value:.3g} ms"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}{'B' if '_bytes' in metric else ''}"
    return f"{value:.4g}"


def watch(console: Console, client: Client, job_id: str) -> dict[str, Any]:
    """Follow a job to its end with a progress bar; returns the finished job."""
    columns = (
        TextColumn("{task.description:<18}", markup=False),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    best: float | None = None
    evaluations = 0
    detail = ""
    # A bar is for people at a terminal; a log gets a line per stage.
    with Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal) as progress:
        task = progress.add_task("queued", total=1.0, detail="")
        for event in client.events(job_id):
            if event.kind == "job":
                job = event.data
                eta = f"{left(job)} left" if left(job) else ""
                description = (job["stage"] if job["state"] == "running" else None) or job["state"]
                if job["state"] == "running" and job.get("stage_total"):
                    eta = f"{job['stage_done']} of {job['stage_total']}  {eta}"
                progress.update(
                    task,
                    completed=job["progress"],
                    description=visible(description),
                    detail=visible(f"{eta}  {detail}"),
                )
            elif event.kind == "curve":
                said = {k.removeprefix("loss_"): v for k, v in event.data.items() if k.startswith("loss_")}
                losses = [f"{name} {amount('loss', value)}" for name, value in said.items()]
                detail = f"epoch {event.data['epoch']}: loss {', '.join(losses)}"
            elif event.kind == "evaluation":
                evaluations = event.data["number"]
                score = event.data["metrics"].get("accuracy")
                best = score if best is None else max(best, score or 0)
                detail = f"{evaluations} architectures, best accuracy {amount('accuracy', best)}"
            elif event.kind == "stage" and not console.is_terminal:
                console.print(plain(f"{event.data['at'][11:19]}  {event.data['stage']}"))
            elif event.kind == "data":
                console.print(plain(data_line(event.data)))
            elif event.kind == "message":
                console.print(plain(event.data["text"], "yellow"))
    job = client.job(job_id)
    if not console.is_terminal:
        console.print(plain(f"{(job['finished_at'] or '')[11:19]}  {job['state']}"))
    return job


def data_line(read: dict[str, Any]) -> str:
    """What a job's data are, in a line."""
    splits = ", ".join(f"{name} {split['samples']:,}" for name, split in read["splits"].items())
    classes = f", {read['num_classes']:,} classes" if read["classes"] else ""
    used = f"{read['used']:,} of {read['seen']:,} {read['unit']}; " if read["seen"] is not None else ""
    return f"Data {read['source']}: {used}{splits}{classes}"


def _moment(stored: str) -> str:
    """A stored time to the minute."""
    return stored[:16].replace("T", " ")


def jobs_table(jobs: list[dict[str, Any]]) -> Table:
    """Jobs as a table."""
    submitted = Column("submitted", min_width=len("2026-11-30"))
    table = make_table(whole("id"), "name", whole("state"), "stage", whole("done"), "left", submitted, tight=True)
    for job in jobs:
        table.add_row(
            plain(job["id"]),
            plain(job["name"]),
            plain(job["state"], STATE_STYLES.get(job["state"], "")),
            plain(job["stage"] or ""),
            f"{100 * job['progress']:.0f} %",
            left(job),
            _moment(job["created_at"]),
        )
    return table


def supernets_table(supernets: list[dict[str, Any]]) -> Table:
    """Trained supernets as a table."""
    table = make_table(whole("id"), "name", "space", "data", "training", "scores", "trained", tight=True)
    for supernet in supernets:
        scores, metric, training = supernet["scores"], supernet["metric"], supernet["training"]
        sizes = {"smallest": scores["smallest"], "random": scores["random"]["mean"], "largest": scores["largest"]}
        shown = ", ".join(f"{size} {amount(metric, value)}" for size, value in sizes.items())
        table.add_row(
            plain(supernet["id"]),
            plain(supernet["name"]),
            plain(supernet["space"]),
            plain(supernet["data"]["source"]),
            plain(f"{training['method']}, {training['epochs']} epochs"),
            plain(f"{metric}: {shown}"),
            _moment(supernet["created_at"]),
        )
    return table


def front_table(front: dict[str, Any]) -> Table:
    """A front as a table, the knee marked, below the reference that it is compared with."""
    shown = [objective["metric"] for objective in front["objectives"]]
    present = {metric for point in front["points"] for metric in point["metrics"]}
    extra = [
        "accuracy",
        *front.get("held_out", ()),
        "test_accuracy",
        "macs",
        "params",
        "latency_ms",
        "predicted_latency_ms",
    ]
    shown += [metric for metric in dict.fromkeys(extra) if metric in present and metric not in shown]
    table = make_table("", whole("architecture"), tight=True)
    for metric in shown:
        table.add_column(metric_header(metric), justify="right", overflow="fold")
    wanted = {objective["metric"] for objective in front["objectives"]}
    reference = front.get("reference")
    if reference is not None:
        cells = [_cell_of(reference, metric, ratio=False) for metric in shown]
        table.add_row(plain(reference["name"]), plain(reference["architecture_id"]), *cells, end_section=True)
    for point in front["points"]:
        cells = [_cell_of(point, metric, ratio=metric in wanted) for metric in shown]
        knee = "knee" if point["architecture_id"] == front["knee"] else "~" if point.get("rivals") else ""
        table.add_row(knee, plain(point["architecture_id"]), *cells)
    return table


def metric_header(metric: str) -> Text:
    """A metric's name over its column, broken between its words so that none is cut on a narrow terminal."""
    return Text("\n".join(visible(part) for part in re.split(r"(?<=_)", metric)))


def _cell_of(point: Mapping[str, Any], metric: str, *, ratio: bool) -> str:
    """A number with half of its interval, and what share of the reference's it is."""
    value = point["metrics"].get(metric)
    ends, share = point.get("intervals", {}).get(metric), point.get("ratios", {}).get(metric)
    text = amount(metric, value)
    if value is not None and ends and None not in ends:
        half = max(value - ends[0], ends[1] - value)
        text += f" ±{100 * half:.1f}" if "accuracy" in metric else f" ±{100 * half / abs(value or 1):.1f} %"
    return f"{text} ×{share:.2f}" if ratio and share is not None else text


def front_notes(front: Mapping[str, Any]) -> list[str]:
    """What a table of a front does not say by itself."""
    lines = []
    for one in front.get("beyond", ()):
        said = [
            f"{b['metric']} {amount(b['metric'], b['value'])}"
            + ("" if b["by"] is None else f", {100 * b['by']:.1f} % beyond {amount(b['metric'], b['limit'])}")
            for b in one["breaks"]
        ]
        lines.append(f"Beside the front: {one['architecture_id']}, {'; '.join(said)}.")
    if any(point.get("rivals") for point in front["points"]):
        lines.append("~ clearly better in nothing than another network of the front: its place may be luck.")
    if not front.get("stable", True):
        lines.append("More networks than were measured have a fair chance to be on the front.")
    return lines


def front_plot(front: dict[str, Any]) -> str:
    """The front over its first two objectives as text; the second axis is logarithmic where it spans much."""
    if len(front["objectives"]) < 2 or not front["points"]:
        return ""
    y_metric, x_metric = (objective["metric"] for objective in front["objectives"][:2])
    reference = front.get("reference")
    shown = [*([] if reference is None else [reference]), *front["points"]]
    points = [p for p in shown if None not in (p["metrics"].get(x_metric), p["metrics"].get(y_metric))]
    if not points:
        return ""
    xs = [point["metrics"][x_metric] for point in points]
    ys = [point["metrics"][y_metric] for point in points]
    logarithmic = min(xs) > 0 and max(xs) > 10 * min(xs)
    scaled = [math.log(x) for x in xs] if logarithmic else xs
    cells = [[" "] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]
    for x, y, point in zip(scaled, ys, points, strict=True):
        column = _cell(x, min(scaled), max(scaled), PLOT_WIDTH)
        row = PLOT_HEIGHT - 1 - _cell(y, min(ys), max(ys), PLOT_HEIGHT)
        mark = "◆" if point["architecture_id"] == front["knee"] else "□" if point is reference else "●"
        cells[row][column] = mark
    top, bottom = amount(y_metric, max(ys)), amount(y_metric, min(ys))
    margin = max(len(top), len(bottom))
    labels = [top, *[""] * (PLOT_HEIGHT - 2), bottom]
    lines = [f"{label:>{margin}} │{''.join(row)}" for label, row in zip(labels, cells, strict=True)]
    left, right = amount(x_metric, min(xs)), amount(x_metric, max(xs))
    middle = f"{x_metric}{', logarithmic' if logarithmic else ''}"
    gap = PLOT_WIDTH - len(left) - len(right)
    axis = f"{'':>{margin}} └{'─' * PLOT_WIDTH}"
    beside = "" if reference is None else f", □ {reference['name']}"
    return "\n".join([f"{y_metric}  (◆ knee{beside})", *lines, axis, f"{'':>{margin}}  {left}{middle:^{gap}}{right}"])


def _cell(value: float, low: float, high: float, cells: int) -> int:
    return 0 if high == low else round((value - low) / (high - low) * (cells - 1))


def export_rule(picks: Mapping[str, bool], under: Sequence[str]) -> dict[str, Any] | None:
    """The rule that options ask for; None: they ask for none.

    Args:
        picks: way to choose -> whether its option was given.

    Raises:
        ValueError: two ways, or a limit that is no `metric=number`.
    """
    asked = [pick for pick, given in picks.items() if given]
    if len(asked) > 1:
        ways = " and ".join(f"--{pick.replace('_', '-')}" for pick in asked)
        raise ValueError(f"{ways} may mean different networks; give one of them.")
    limits = read_limits("--under", under)
    if not (asked or limits):
        return None
    return {"pick": asked[0] if asked else "most_accurate", "under": limits}


def read_limits(option: str, texts: Sequence[str]) -> dict[str, float]:
    """Limits from words such as `latency_ms=5`.

    Raises:
        ValueError: one is no `metric=number`, or a metric has two.
    """
    limits: dict[str, float] = {}
    for text in texts:
        metric, equals, number = text.partition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not equals or not math.isfinite(limit):
            raise ValueError(f"{option} takes a metric and a number, such as latency_ms=5; got {text!r}.")
        if metric in limits:
            raise ValueError(f"{option} limits {metric} twice; give it one limit.")
        limits[metric] = limit
    return limits


def verified(report: Mapping[str, Any]) -> list[str]:
    """What an export's files scored, in lines."""
    lines = []
    for name, found in report["formats"].items():
        metric = found.get("metric", "accuracy")
        interval = found.get("interval_95")
        sure = f" (95 %: {amount(metric, interval[0])} to {amount(metric, interval[1])})" if interval else ""
        lines.append(f"  {name}: {metric} {amount(metric, found[metric])}{sure} on {report['samples']:,} samples")
    if (front := report.get("front")) is not None:
        lines.append(f"  the front says {front['metric']} {amount(front['metric'], front['value'])}")
    return [*lines, *([f"  {report['note']}"] if "note" in report else [])]


def show_profile(console: Console, profile: ProfileOut) -> None:
    """A profile as two tables and two sentences."""
    size = f"  {int(profile.architectures):,} networks, {profile.num_choices} choices"
    console.print(Text.assemble(plain(profile.space, "bold"), size))
    console.print(plain(f"takes {profile.takes}{_sizes(profile)}"))
    console.print()
    table = make_table("metric")
    for name in ("smallest", "median", "largest"):
        table.add_column(name, justify="right")
    for row in profile.metrics:
        table.add_row(plain(row.metric), *(f"{value:,}" for value in (row.smallest, row.median, row.largest)))
    console.print(table)
    whole = profile.counted_how == "every network"
    how = "all networks" if whole else f"{profile.counted:,} random networks (seed {profile.seed})"
    console.print(f"Counted from {how} and the ends of the space in {profile.seconds:.2f} s.\n")
    if profile.limits:
        limits = make_table("limit", "value", "met by", "known")
        for limit in profile.limits:
            met = "" if limit.share is None else f"{100 * limit.share:.3g} %"
            limits.add_row(plain(f"{limit.metric} {limit.bound}"), f"{limit.limit:,.12g}", met, plain(limit.known))
        console.print(limits)
    if profile.feasibility is not None:
        console.print(_feasibility(profile.feasibility))
    if profile.deployable:
        console.print(plain(profile.deployable))
    if profile.data_misfit:
        console.print(plain(profile.data_misfit, "red"))


def _sizes(profile: ProfileOut) -> str:
    sizes = profile.input.get("sizes")
    return f", resized to {sizes[0]} to {sizes[1]} pixels a side" if sizes and sizes[0] != sizes[1] else ""


def _feasibility(found: Feasibility) -> Text:
    style = {"feasible": "green", "infeasible": "red"}.get(found.answer, "yellow")
    interval = f" (95 % interval {100 * found.share_low:.3g} to {100 * found.share_high:.3g} %)"
    exact = found.share_low == found.share_high
    share = f"{100 * found.share:.3g} % of the networks meet all of these limits{'' if exact else interval}."
    nearest = found.nearest
    numbers = ", ".join(f"{metric} {value:,}" for metric, value in nearest.metrics.items())
    which = "For example" if found.answer == "feasible" else "The nearest is"
    told = plain(f": {share} {found.reason}"), "\n", plain(f"{which} {nearest.architecture_id} with {numbers}.")
    return Text.assemble(plain(found.answer, style), *told)
