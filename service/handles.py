"""What the client gives: the API's answers, which are mappings, with what one does next as methods.

front = winnow.Client().submit(job).wait().front
front.to_pandas()
model = front.best(under={"latency_ms": 5}).export("huggingface").load()
"""

from __future__ import annotations

import html
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.front_plot import plotted

if TYPE_CHECKING:
    from service.client import Client

POLL_SECONDS = 1.0
ENDED = ("succeeded", "failed", "cancelled")
COLUMNS = ("architecture_id",)


class JobFailed(RuntimeError):
    """A job that was waited for ended otherwise than well."""


class JobAnswer(dict[str, Any]):
    """A job, as the API tells it."""

    def __init__(self, client: Client, told: dict[str, Any]) -> None:
        super().__init__(told)
        self._client = client

    def wait(self, timeout_seconds: float | None = None) -> JobAnswer:
        """Wait until the job has ended.

        Raises:
            JobFailed: it failed or was cancelled; the message says why.
            TimeoutError: it has not ended in time; it goes on.
        """
        begin = time.monotonic()
        while self["state"] not in ENDED:
            if timeout_seconds is not None and time.monotonic() - begin > timeout_seconds:
                raise TimeoutError(f"Job {self['id']} is {self['state']} after {timeout_seconds:g} s; it goes on.")
            time.sleep(POLL_SECONDS)
            self.update(self._client.job(self["id"]))
        if self["state"] != "succeeded":
            raise JobFailed(f"Job {self['id']} {self['state']}: {self.get('message') or 'no reason was given'}")
        return self

    @property
    def front(self) -> FrontAnswer:
        """The job's Pareto front, so far while it runs."""
        return FrontAnswer(self._client, self._client.front(self["id"]))


class FrontAnswer(dict[str, Any]):
    """A Pareto front, as the API tells it; in a notebook it shows as a plot and a table."""

    def __init__(self, client: Client, told: dict[str, Any]) -> None:
        super().__init__(told)
        self._client = client

    def rows(self) -> list[dict[str, Any]]:
        """A flat record for each network: its id, its metrics, its choices."""
        return [
            {"architecture_id": point["architecture_id"], **point["metrics"], **point.get("values", {})}
            for point in self["points"]
        ]

    def to_pandas(self) -> Any:
        """The same as a `pandas.DataFrame`, best in the first objective first."""
        pandas = importlib.import_module("pandas")
        return pandas.DataFrame(self.rows())

    def best(self, under: dict[str, float] | None = None, by: str | None = None) -> NetworkAnswer:
        """The network that is best in an objective among those within limits.

        Args:
            under: metric -> the most that it may have of it.
            by: an objective; None: the first, which is the quality.

        Raises:
            ValueError: a metric that the front does not have, or no network is within the limits.
        """
        limits, objectives = under or {}, {one["metric"]: one["goal"] for one in self["objectives"]}
        by = next(iter(objectives)) if by is None else by
        if by not in objectives:
            raise ValueError(f"The front has no objective {by!r}. Its objectives: {', '.join(objectives)}.")
        known = sorted({metric for point in self["points"] for metric in point["metrics"]})
        unknown = [metric for metric in limits if metric not in known]
        if unknown:
            raise ValueError(f"No network of the front has {unknown[0]!r}. Known: {', '.join(known)}.")
        within = [
            point
            for point in self["points"]
            if all(_at_most(point["metrics"].get(metric), most) for metric, most in limits.items())
        ]
        if not within:
            least = {
                metric: min(p["metrics"][metric] for p in self["points"] if p["metrics"].get(metric) is not None)
                for metric in limits
            }
            said = " and ".join(f"{metric} of at most {most:g}" for metric, most in limits.items())
            raise ValueError(f"No network of the front has {said}. The least of each: {least}.")
        sign = 1 if objectives[by] == "maximize" else -1
        chosen = max(within, key=lambda point: sign * point["metrics"][by])
        return NetworkAnswer(self._client, self["job_id"], chosen)

    def _repr_html_(self) -> str:
        """A plot and a table, for notebooks."""
        metrics = list(dict.fromkeys(metric for point in self["points"] for metric in point["metrics"]))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in (*COLUMNS, *metrics))
        body = "".join(
            "<tr>"
            + f"<td><code>{html.escape(point['architecture_id'])}</code></td>"
            + "".join(f"<td>{_shown(point['metrics'].get(metric))}</td>" for metric in metrics)
            + "</tr>"
            for point in self["points"]
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return plotted(self["points"], self["objectives"]) + table


def _at_most(value: float | None, most: float) -> bool:
    return value is not None and value <= most


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


class NetworkAnswer(dict[str, Any]):
    """A network of a front."""

    def __init__(self, client: Client, job_id: str, told: dict[str, Any]) -> None:
        super().__init__(told)
        self._client, self._job_id = client, job_id

    def export(self, *formats: str, folder: str | Path = "exports") -> ExportAnswer:
        """Export it, wait, and download the archive.

        Args:
            formats: each in a folder of the archive; none: `load.py` and `model.onnx` in one.

        Raises:
            ClientError: the export was refused or failed.
        """
        made = self._client.export(self._job_id, self["architecture_id"], None, list(formats) or None)
        return ExportAnswer(made, self._client.download(made, Path(folder)))


class ExportAnswer(dict[str, Any]):
    """A finished export, with the archive that was downloaded."""

    def __init__(self, told: dict[str, Any], archive: Path) -> None:
        super().__init__(told)
        self.archive = archive

    def unpack(self) -> Path:
        """The export's folder beside its archive."""
        # By name: what opens files may import torch, which the service does not.
        found: Path = importlib.import_module("winnow.loading").unpack(self.archive)
        return found

    def load(self, format: str | None = None) -> Any:  # noqa: A002 - the word that users know
        """The network in memory, by a format's own tool: a model of transformers, a module of torch, a session.

        Args:
            format: one of those that were exported; None: the first that can be loaded.
        """
        return importlib.import_module("winnow.loading").load(self.unpack(), self.get("formats") or (), format)
