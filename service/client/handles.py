"""What the clients give: the API's answers, which are mappings, with what one does next as methods.

front = winnow.Client().submit(job).wait().front
front.to_pandas()
model = front.best(under={"latency_ms": 5}).export("huggingface").load()

Each is declared once and is there for either client: the answers of `AsyncClient` have the same methods, awaited.
"""

from __future__ import annotations

import html
import importlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from service.client.progress import bar
from service.client.steps import Awaited, Blocking, Items, Pause, Steps, Told, asked, collected, fetched
from service.front_plot import Plot, plot

if TYPE_CHECKING:
    from service.client import AsyncClient, Client

J = TypeVar("J")
F = TypeVar("F")
N = TypeVar("N")
T = TypeVar("T")

POLL_SECONDS = 1.0
ENDED = ("succeeded", "failed", "cancelled")
COLUMNS = ("architecture_id",)


class JobFailed(RuntimeError):
    """A job that was waited for ended otherwise than well."""


class _JobVerbs(dict[str, Any], Generic[J, F]):
    """A job, as the API tells it; what is not listed here is a key of the mapping."""

    _client: Any

    def __init__(self, client: Any, told: Told) -> None:
        super().__init__(told)
        self._client = client

    @property
    def id(self) -> str:
        """Its id."""
        return str(self["id"])

    @property
    def state(self) -> str:
        """Its state when it was asked for last."""
        return str(self["state"])

    @asked
    def refresh(self) -> Steps[J]:
        """Ask for it again."""
        yield from self._refresh()
        return cast(J, self)

    @asked
    def wait(self, timeout_seconds: float | None = None, progress: bool | None = None) -> Steps[J]:
        """Wait until the job has ended well, with a bar that shows its stage and the time that is left.

        Args:
            progress: whether there is a bar; None: at a terminal and in a notebook.

        Raises:
            JobFailed: it failed or was cancelled; the message says why.
            TimeoutError: it has not ended in time; it goes on.
        """
        begin = time.monotonic()
        with bar(progress) as show:
            show(self)
            while self.state not in ENDED:
                if timeout_seconds is not None and time.monotonic() - begin > timeout_seconds:
                    raise TimeoutError(f"Job {self.id} is {self.state} after {timeout_seconds:g} s; it goes on.")
                yield Pause(POLL_SECONDS)
                yield from self._refresh()
                show(self)
        if self.state != "succeeded":
            raise JobFailed(f"Job {self.id} {self.state}: {self.get('message') or 'no reason was given'}")
        return cast(J, self)

    @fetched
    def front(self) -> Steps[F]:
        """The job's Pareto front, so far while it runs."""
        told = yield from self._client._ask("GET", f"/v1/jobs/{self.id}/front")
        return cast(F, self._client._as_front(told))

    @asked
    def evaluated(self) -> Steps[Any]:
        """Every network that was evaluated as a `pandas.DataFrame`, in the order of the search."""
        return table(flat((yield from collected(self._client._evaluations(self.id)))))

    def _refresh(self) -> Steps[None]:
        self.update((yield from self._client._look(f"/v1/jobs/{self.id}")))


class _FrontVerbs(dict[str, Any], Generic[N]):
    """A Pareto front, as the API tells it; in a notebook it shows as a plot and a table."""

    _client: Any

    def __init__(self, client: Any, told: Told) -> None:
        super().__init__(told)
        self._client = client

    def _as_network(self, told: Told) -> N:
        raise NotImplementedError

    @property
    def networks(self) -> list[N]:
        """Its networks, best in the first objective first."""
        return [self._as_network(point) for point in self["points"]]

    @property
    def knee(self) -> N | None:
        """The network that Winnow recommends; None while nothing is found."""
        found = [point for point in self["points"] if point["architecture_id"] == self.get("knee")]
        return self._as_network(found[0]) if found else None

    def rows(self) -> list[dict[str, Any]]:
        """A flat record for each network: its id, its metrics, its choices."""
        return flat(self["points"])

    def to_pandas(self) -> Any:
        """The same as a `pandas.DataFrame`, best in the first objective first."""
        return table(self.rows())

    def plot(self, x: str | None = None, y: str | None = None) -> Plot:
        """The front as a picture that a notebook shows and `save` writes; see `winnow.plot` for several.

        Args:
            x, y: metrics; None: the second objective, and the first.
        """
        return plot({"": self}, x, y)

    def best(self, under: Mapping[str, float] | None = None, by: str | None = None) -> N:
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
        return self._as_network(max(within, key=lambda point: sign * point["metrics"][by]))

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
        made = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        try:
            return self.plot().svg + made
        except ValueError:  # one objective, or nothing that has two of them
            return made


class _NetworkVerbs(dict[str, Any]):
    """A network of a front."""

    _client: Any

    def __init__(self, client: Any, job_id: str, told: Told) -> None:
        super().__init__(told)
        self._client, self._job_id = client, job_id

    @property
    def id(self) -> str:
        """Id of its architecture."""
        return str(self["architecture_id"])

    @property
    def metrics(self) -> dict[str, float | None]:
        """Metric -> its value, in the unit that its name ends with."""
        found: dict[str, float | None] = self["metrics"]
        return found

    @asked
    def details(self) -> Steps[Told]:
        """Its layers in forward order, and every number with its source."""
        told: Told = yield from self._client._ask("GET", f"/v1/jobs/{self._job_id}/architectures/{self.id}")
        return told

    @asked
    def export(self, *formats: str, folder: str | Path = "exports", weights: str | None = None) -> Steps[ExportAnswer]:
        """Export it, wait, and download the archive.

        Args:
            formats: each in a folder of the archive; none: `load.py` and `model.onnx` in one.
            folder: for the archive.
            weights: weights of a network that was healed: `best` (the default), `healed` or `unhealed`.

        Raises:
            ClientError: the export was refused or failed.
        """
        begun = yield from self._client._request_export(self._job_id, self.id, None, list(formats), weights)
        made = yield from self._client._finished_export(begun)
        return ExportAnswer(made, (yield from self._client._download(made, Path(folder))))


class ExportAnswer(dict[str, Any]):
    """A finished export, with the archive that was downloaded."""

    def __init__(self, told: Told, archive: Path) -> None:
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
            format: one of those that were exported; None: the first by name that can be loaded.
        """
        return importlib.import_module("winnow.loading").load(self.archive, format)


# --- of either client -----------------------------------------------------------------------------


class _Handle(Blocking):
    _client: Client

    def _run(self, steps: Steps[T]) -> T:
        return self._client._run(steps)

    def _iterate(self, items: Items[T]) -> Iterator[T]:
        return self._client._iterate(items)


class _AsyncHandle(Awaited):
    _client: AsyncClient

    def _run(self, steps: Steps[T]) -> Coroutine[Any, Any, T]:
        return self._client._run(steps)

    def _iterate(self, items: Items[T]) -> AsyncIterator[T]:
        return self._client._iterate(items)


class NetworkAnswer(_NetworkVerbs, _Handle):
    """A network of a front."""


class FrontAnswer(_FrontVerbs[NetworkAnswer]):
    """A Pareto front, as the API tells it; in a notebook it shows as a plot and a table."""

    def _as_network(self, told: Told) -> NetworkAnswer:
        return NetworkAnswer(self._client, self["job_id"], told)


class JobAnswer(_JobVerbs["JobAnswer", FrontAnswer], _Handle):
    """A job, as the API tells it; what is not listed here is a key of the mapping."""


class AsyncNetworkAnswer(_NetworkVerbs, _AsyncHandle):
    """A network of a front."""


class AsyncFrontAnswer(_FrontVerbs[AsyncNetworkAnswer]):
    """A Pareto front, as the API tells it; in a notebook it shows as a plot and a table."""

    def _as_network(self, told: Told) -> AsyncNetworkAnswer:
        return AsyncNetworkAnswer(self._client, self["job_id"], told)


class AsyncJobAnswer(_JobVerbs["AsyncJobAnswer", AsyncFrontAnswer], _AsyncHandle):
    """A job, as the API tells it; what is not listed here is a key of the mapping."""


# --- tables ---------------------------------------------------------------------------------------


def flat(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Networks as flat records: id, metrics, choices."""
    return [
        {"architecture_id": point["architecture_id"], **point["metrics"], **point.get("values", {})} for point in points
    ]


def table(rows: list[dict[str, Any]]) -> Any:
    """Records as a `pandas.DataFrame`."""
    return importlib.import_module("pandas").DataFrame(rows)


def _at_most(value: float | None, most: float) -> bool:
    return value is not None and value <= most


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
