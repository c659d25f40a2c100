"""Every verb of the API, declared once: `Client` and `AsyncClient` are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from service.client.steps import ClientError, Item, Items, Pause, Steps, Told, asked, streamed
from service.client.transfers import Transfers, given

J = TypeVar("J")  # what a job is told as
F = TypeVar("F")  # what a front is told as

# An export that is being made is looked at so often.
EXPORT_POLL_SECONDS = 0.3


class Verbs(Transfers, Generic[J, F]):
    """Jobs, fronts, exports and all else that the API has."""

    def _as_job(self, told: Told) -> J:
        raise NotImplementedError

    def _as_front(self, told: Told) -> F:
        raise NotImplementedError

    # --- what there is ----------------------------------------------------------------------------

    @asked
    def catalog(self) -> Steps[Told]:
        """What a job can be made of."""
        return (yield from self._ask("GET", "/v1/catalog"))

    @asked
    def profile(self, spec: dict[str, Any]) -> Steps[Told]:
        """What a space costs and whether limits can be met."""
        return (yield from self._ask("POST", "/v1/profile", json=spec))

    @asked
    def shrink_plan(self, wanted: dict[str, Any]) -> Steps[Told]:
        """A whole job from one sentence: what was decided, and what it takes. Nothing is started."""
        return (yield from self._ask("POST", "/v1/shrink", json=wanted))

    @asked
    def who(self) -> Steps[Told]:
        """The key that the client asks with, and what it may do."""
        return (yield from self._ask("GET", "/v1/session"))

    # --- jobs -------------------------------------------------------------------------------------

    @asked
    def submit(self, spec: dict[str, Any], idempotency_key: str | None = None) -> Steps[J]:
        """Submit a job; the answer can be waited for.

        Args:
            spec: the body of `POST /v1/jobs`; everything but the recipe may be left out.
            idempotency_key: a name of yours; what is submitted twice under it is one job.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._as_job((yield from self._ask("POST", "/v1/jobs", json=spec, headers=headers)))

    @asked
    def job(self, job_id: str) -> Steps[J]:
        """One job."""
        return self._as_job((yield from self._ask("GET", f"/v1/jobs/{job_id}")))

    @asked
    def jobs(self, /, **filters: Any) -> Steps[Told]:
        """One page of jobs."""
        return (yield from self._ask("GET", "/v1/jobs", params=given(**filters)))

    @asked
    def verb(self, job_id: str, verb: str) -> Steps[Told]:
        """Do `cancel`, `pause`, `resume`, `stop`, `retry` or `restore`."""
        return (yield from self._ask("POST", f"/v1/jobs/{job_id}/{verb}"))

    @asked
    def descend(self, job_id: str, verb: str, body: dict[str, Any], idempotency_key: str | None = None) -> Steps[Told]:
        """Make a job of another one: `clone`, `extend`, `rerun`, `heal` or `architectures/ID/measure`."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return (yield from self._ask("POST", f"/v1/jobs/{job_id}/{verb}", json=body, headers=headers))

    @asked
    def edit(self, job_id: str, changes: dict[str, Any]) -> Steps[Told]:
        """Change a job's `name`, `labels`, `notes` or `priority`."""
        return (yield from self._ask("PATCH", f"/v1/jobs/{job_id}", json=changes))

    @asked
    def delete(self, job_id: str) -> Steps[Told]:
        """Mark a finished job to be removed."""
        return (yield from self._ask("DELETE", f"/v1/jobs/{job_id}"))

    @asked
    def share(self, job_id: str, shared: bool) -> Steps[Told]:
        """Share a job with the keys of your group, or stop sharing it."""
        return (yield from self._ask("POST", f"/v1/jobs/{job_id}/sharing", json={"shared": shared}))

    @asked
    def data(self, job_id: str) -> Steps[Told]:
        """What was read of a job's data and left out, with classes, columns and splits."""
        return (yield from self._ask("GET", f"/v1/jobs/{job_id}/data"))

    @asked
    def logs(self, /, job_id: str, **filters: Any) -> Steps[Told]:
        """A page of a job's log; `level`, `search`, `after`, `limit`, `last`."""
        return (yield from self._ask("GET", f"/v1/jobs/{job_id}/logs", params=given(**filters)))

    # --- what was found ---------------------------------------------------------------------------

    @asked
    def front(self, job_id: str) -> Steps[F]:
        """The job's Pareto front."""
        return self._as_front((yield from self._ask("GET", f"/v1/jobs/{job_id}/front")))

    @asked
    def network(self, job_id: str, architecture_id: str) -> Steps[Told]:
        """One evaluated network with its layers in forward order."""
        return (yield from self._ask("GET", f"/v1/jobs/{job_id}/architectures/{architecture_id}"))

    @streamed
    def evaluations(self, job_id: str) -> Items[Told]:
        """Every evaluation of a job, page by page."""
        yield from self._evaluations(job_id)

    def _evaluations(self, job_id: str) -> Items[Told]:
        cursor: str | None = None
        while True:
            params = given(limit=1000, cursor=cursor)
            page = yield from self._ask("GET", f"/v1/jobs/{job_id}/evaluations", params=params)
            for one in page["evaluations"]:
                yield Item(one)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    @asked
    def solve(
        self,
        job_id: str,
        limits: dict[str, float] | None = None,
        objective: str | None = None,
        sweep: dict[str, Any] | None = None,
        target: str | None = None,
    ) -> Steps[Told]:
        """The network of a job by blocks that is predicted to be best within limits; nothing is evaluated.

        Args:
            limits: metric -> the worst value that will do.
            objective: what is made best; None: the job's own.
            sweep: `metric` and `points`: a front over several limits on one metric.
            target: an uploaded table of layers, whose prices are `latency_ms`.
        """
        body = {"limits": limits or {}, "objective": objective, "sweep": sweep, "target": target}
        return (yield from self._ask("POST", f"/v1/jobs/{job_id}/solve", json=body))

    @asked
    def gradient(self, job_id: str) -> Steps[Told]:
        """A job's search by gradient."""
        return (yield from self._ask("GET", f"/v1/jobs/{job_id}/gradient"))

    @asked
    def healing(self, job_id: str) -> Steps[Told]:
        """What healing has made of a job's networks."""
        return (yield from self._ask("GET", f"/v1/jobs/{job_id}/healing"))

    @asked
    def supernets(self, /, **filters: Any) -> Steps[Told]:
        """One page of trained supernets."""
        return (yield from self._ask("GET", "/v1/supernets", params=given(**filters)))

    @asked
    def supernet(self, supernet_id: str) -> Steps[Told]:
        """One trained supernet with its curve."""
        return (yield from self._ask("GET", f"/v1/supernets/{supernet_id}"))

    # --- exports ----------------------------------------------------------------------------------

    @asked
    def request_export(
        self,
        job_id: str,
        architecture_id: str | None = None,
        rule: dict[str, Any] | None = None,
        formats: Sequence[str] | None = None,
        weights: str | None = None,
    ) -> Steps[Told]:
        """Ask for an export.

        Args:
            architecture_id: id of a network that the job has evaluated.
            rule: which network of the front is meant: `pick` (`knee` or `most_accurate`) and `under`. With neither
                it is the knee, if that loses little to the largest network.
            formats: each in a folder of the archive; None: what an export has that names none.
            weights: weights of a network that was healed: `best` (the default), `healed` or `unhealed`.
        """
        return (yield from self._request_export(job_id, architecture_id, rule, formats, weights))

    @asked
    def export(
        self,
        job_id: str,
        architecture_id: str | None = None,
        rule: dict[str, Any] | None = None,
        formats: Sequence[str] | None = None,
        weights: str | None = None,
    ) -> Steps[Told]:
        """Ask for an export, as `request_export`, and wait until it has succeeded.

        Raises:
            ClientError: the export was refused or failed.
        """
        begun = yield from self._request_export(job_id, architecture_id, rule, formats, weights)
        return (yield from self._finished_export(begun))

    @asked
    def finished_export(self, export: Told) -> Steps[Told]:
        """Wait until an export has succeeded.

        Raises:
            ClientError: it failed.
        """
        return (yield from self._finished_export(export))

    def _request_export(
        self,
        job_id: str,
        architecture_id: str | None,
        rule: dict[str, Any] | None,
        formats: Sequence[str] | None,
        weights: str | None,
    ) -> Steps[Told]:
        named = list(formats) if formats else None
        body = given(architecture_id=architecture_id, rule=rule, formats=named, weights=weights)
        return (yield from self._ask("POST", f"/v1/jobs/{job_id}/exports", json=body))

    def _finished_export(self, export: Told) -> Steps[Told]:
        while export["state"] in ("queued", "running"):
            yield Pause(EXPORT_POLL_SECONDS)
            export = yield from self._look(f"/v1/exports/{export['id']}")
        if export["state"] == "failed":
            raise ClientError(f"Export {export['id']} failed: {export['message']}")
        return export

    # --- targets, workers, keys, webhooks ---------------------------------------------------------

    @asked
    def targets(self) -> Steps[Told]:
        """All targets."""
        return (yield from self._ask("GET", "/v1/targets"))

    @asked
    def add_table(self, name: str, table: str) -> Steps[Told]:
        """Upload a table of latencies as a target."""
        return (yield from self._ask("POST", "/v1/targets", json={"name": name, "table": table}))

    @asked
    def remove_target(self, name: str) -> Steps[None]:
        """Remove a target."""
        yield from self._ask("DELETE", f"/v1/targets/{name}")

    @asked
    def workers(self) -> Steps[list[Told]]:
        """All workers."""
        return (yield from self._list("/v1/workers", "workers"))

    @asked
    def keys(self) -> Steps[list[Told]]:
        """All keys."""
        return (yield from self._list("/v1/keys", "keys"))

    @asked
    def create_key(self, wanted: dict[str, Any]) -> Steps[Told]:
        """Make a key; the answer holds it."""
        return (yield from self._ask("POST", "/v1/keys", json=wanted))

    @asked
    def revoke_key(self, key_id: str) -> Steps[Told]:
        """End a key."""
        return (yield from self._ask("DELETE", f"/v1/keys/{key_id}"))

    @asked
    def make_link(self) -> Steps[str]:
        """The token of a link that signs a browser in once."""
        return str((yield from self._ask("POST", "/v1/session/links"))["token"])

    @asked
    def webhooks(self) -> Steps[list[Told]]:
        """Your webhooks."""
        return (yield from self._list("/v1/webhooks", "webhooks"))

    @asked
    def add_webhook(self, url: str, states: list[str]) -> Steps[Told]:
        """Send the states of your jobs to an address; the answer holds the secret that signs the messages."""
        return (yield from self._ask("POST", "/v1/webhooks", json={"url": url, "states": states}))

    @asked
    def remove_webhook(self, webhook_id: str) -> Steps[None]:
        """Remove a webhook: its address hears nothing more."""
        yield from self._ask("DELETE", f"/v1/webhooks/{webhook_id}")

    @asked
    def deliveries(self, webhook_id: str) -> Steps[list[Told]]:
        """What was sent to a webhook."""
        return (yield from self._list(f"/v1/webhooks/{webhook_id}/deliveries", "deliveries"))

    def _list(self, path: str, name: str) -> Steps[list[Told]]:
        found: list[Told] = (yield from self._ask("GET", path))[name]
        return found
