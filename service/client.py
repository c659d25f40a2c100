"""Client of the HTTP API: what the command line talks through, and scripts may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from service.archives import archive_name, wrong_with
from service.auth.hosts import is_loopback
from service.credentials import headers_for
from service.handles import FrontAnswer, JobAnswer

# A stream that broke is taken up again after so long.
RECONNECT_SECONDS = 1.0
# A download that breaks off is taken up so often.
DOWNLOAD_ATTEMPTS = 5
# The status of an API whose database is away for a moment.
UNAVAILABLE = 503
# Bytes of a part of an upload, and how often one is tried again.
PART_BYTES, UPLOAD_TRIES = 16_000_000, 5


class ClientError(Exception):
    """The API refused, or cannot be reached. The message is one line for a person."""

    def __init__(self, message: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem or {}


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `id` is None for snapshots."""

    kind: str
    data: dict[str, Any]
    id: str | None


class Client:
    """Talks to one API.

    Args:
        url: such as `http://127.0.0.1:8420`; None: that of the settings (`WINNOW_URL`).
        key: to send; by default that of the environment, or on loopback that of `winnow up` (see `credentials`).
    """

    def __init__(self, url: str | None = None, timeout_seconds: float = 30, key: str | None = None) -> None:
        if url is None:
            from service.settings import get_settings  # most callers name one

            url = get_settings().url
        self.url = url.rstrip("/")
        # What raw requests of the same client need as well.
        self.headers = headers_for(self.url, key)
        try:
            # A proxy of the environment is for other machines: this one is asked directly.
            direct = is_loopback(urlsplit(self.url).hostname or "")
            self._http = httpx.Client(
                base_url=self.url, timeout=timeout_seconds, headers=self.headers, trust_env=not direct
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ClientError(f"{self.url} cannot be asked through the proxy of the environment: {error}") from None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # --- verbs ----------------------------------------------------------------------------------

    def submit(self, spec: dict[str, Any], idempotency_key: str | None = None) -> JobAnswer:
        """Submit a job; the answer can be waited for."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return JobAnswer(self, self._json("POST", "/v1/jobs", json=spec, headers=headers))

    def catalog(self) -> dict[str, Any]:
        """What a job can be made of."""
        return self._json("GET", "/v1/catalog")

    def profile(self, spec: dict[str, Any]) -> dict[str, Any]:
        """What a space costs and whether limits can be met."""
        return self._json("POST", "/v1/profile", json=spec)

    def shrink_plan(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A whole job from one sentence: what was decided, and what it takes. Nothing is started."""
        return self._json("POST", "/v1/shrink", json=asked)

    def job(self, job_id: str) -> JobAnswer:
        """One job."""
        return JobAnswer(self, self._json("GET", f"/v1/jobs/{job_id}"))

    def data(self, job_id: str) -> dict[str, Any]:
        """What a job's data are: what was read and left out, classes, columns, splits."""
        return self._json("GET", f"/v1/jobs/{job_id}/data")

    def jobs(self, **filters: Any) -> dict[str, Any]:
        """One page of jobs."""
        return self._json("GET", "/v1/jobs", params={k: v for k, v in filters.items() if v is not None})

    def supernets(self, **filters: Any) -> dict[str, Any]:
        """One page of trained supernets."""
        return self._json("GET", "/v1/supernets", params={k: v for k, v in filters.items() if v is not None})

    def supernet(self, supernet_id: str) -> dict[str, Any]:
        """One trained supernet with its curve."""
        return self._json("GET", f"/v1/supernets/{supernet_id}")

    def targets(self) -> dict[str, Any]:
        """All targets."""
        return self._json("GET", "/v1/targets")

    def add_table(self, name: str, table: str) -> dict[str, Any]:
        """Upload a table of latencies as a target."""
        return self._json("POST", "/v1/targets", json={"name": name, "table": table})

    def remove_target(self, name: str) -> None:
        """Remove a target."""
        self._json("DELETE", f"/v1/targets/{name}")

    def share(self, job_id: str, shared: bool) -> dict[str, Any]:
        """Let the keys of one's group look at a job, or no longer."""
        return self._json("POST", f"/v1/jobs/{job_id}/sharing", json={"shared": shared})

    def keys(self) -> list[dict[str, Any]]:
        """All keys."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/keys")["keys"]
        return found

    def create_key(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a key; the answer holds it."""
        return self._json("POST", "/v1/keys", json=asked)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """End a key."""
        return self._json("DELETE", f"/v1/keys/{key_id}")

    def make_link(self) -> str:
        """The token of a link that signs a browser in once."""
        return str(self._json("POST", "/v1/session/links")["token"])

    def verb(self, job_id: str, verb: str) -> dict[str, Any]:
        """`cancel`, `pause`, `resume`, `stop`, `retry` or `restore`."""
        return self._json("POST", f"/v1/jobs/{job_id}/{verb}")

    def descend(
        self, job_id: str, verb: str, body: dict[str, Any], idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Make a job of another one: `clone`, `extend`, `rerun`, `heal` or `architectures/ID/measure`."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._json("POST", f"/v1/jobs/{job_id}/{verb}", json=body, headers=headers)

    def edit(self, job_id: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change a job's `name`, `labels`, `notes` or `priority`."""
        return self._json("PATCH", f"/v1/jobs/{job_id}", json=changes)

    def delete(self, job_id: str) -> dict[str, Any]:
        """Mark a finished job to be removed."""
        return self._json("DELETE", f"/v1/jobs/{job_id}")

    def who(self) -> dict[str, Any]:
        """Who one is there."""
        return self._json("GET", "/v1/session")

    def begin_upload(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        """Announce a file: `datasets` or `checkpoints`."""
        return self._json("POST", f"/v1/{kind}", json=given)

    def upload(self, upload_id: str) -> dict[str, Any]:
        """An upload, and where to go on with it."""
        return self._json("GET", f"/v1/uploads/{upload_id}")

    def send_upload(self, row: dict[str, Any], file: Path) -> dict[str, Any]:
        """Send what has not arrived of a file, and have it checked; a part that breaks off is sent again.

        Raises:
            ClientError: it is refused, or nobody answers several times.
        """
        tries = 0
        with file.open("rb") as opened:
            while row["received_bytes"] < row["size_bytes"]:
                opened.seek(row["received_bytes"])
                part, params = opened.read(PART_BYTES), {"offset": row["received_bytes"]}
                headers = {"Content-Type": "application/octet-stream"}
                try:
                    path = f"/v1/uploads/{row['id']}"
                    row = self._json("PUT", path, params=params, content=part, headers=headers, timeout=300)
                    tries = 0
                except ClientError as error:
                    tries += 1
                    if tries > UPLOAD_TRIES or error.problem.get("status", 503) not in (409, 429, 503):
                        raise
                    time.sleep(RECONNECT_SECONDS * tries)
                    row = self.upload(row["id"])
        return self._json("POST", f"/v1/uploads/{row['id']}/finish", timeout=3600)

    def workers(self) -> list[dict[str, Any]]:
        """All workers."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/workers")["workers"]
        return found

    def logs(self, job_id: str, **filters: Any) -> dict[str, Any]:
        """A page of a job's log; `level`, `search`, `after`, `limit`, `last`."""
        params = {name: value for name, value in filters.items() if value is not None}
        return self._json("GET", f"/v1/jobs/{job_id}/logs", params=params)

    def webhooks(self) -> list[dict[str, Any]]:
        """Your webhooks."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/webhooks")["webhooks"]
        return found

    def add_webhook(self, url: str, states: list[str]) -> dict[str, Any]:
        """Have an address told of states of your jobs; the answer holds its secret."""
        return self._json("POST", "/v1/webhooks", json={"url": url, "states": states})

    def remove_webhook(self, webhook_id: str) -> None:
        """Tell an address nothing more."""
        self._json("DELETE", f"/v1/webhooks/{webhook_id}")

    def deliveries(self, webhook_id: str) -> list[dict[str, Any]]:
        """What was sent to a webhook."""
        found: list[dict[str, Any]] = self._json("GET", f"/v1/webhooks/{webhook_id}/deliveries")["deliveries"]
        return found

    def front(self, job_id: str) -> FrontAnswer:
        """The job's Pareto front."""
        return FrontAnswer(self, self._json("GET", f"/v1/jobs/{job_id}/front"))

    def network(self, job_id: str, architecture_id: str) -> dict[str, Any]:
        """One evaluated network with its layers in forward order."""
        return self._json("GET", f"/v1/jobs/{job_id}/architectures/{architecture_id}")

    def solve(
        self,
        job_id: str,
        limits: dict[str, float] | None = None,
        objective: str | None = None,
        sweep: dict[str, Any] | None = None,
        target: str | None = None,
    ) -> dict[str, Any]:
        """The network of a job by blocks that is predicted to be best within limits; nothing is evaluated.

        Args:
            limits: metric -> the worst value that will do.
            objective: what is made best; None: the job's own.
            sweep: `metric` and `points`: a front over several limits on one metric.
            target: an uploaded table of layers, whose prices are `latency_ms`.
        """
        asked = {"limits": limits or {}, "objective": objective, "sweep": sweep, "target": target}
        return self._json("POST", f"/v1/jobs/{job_id}/solve", json=asked)

    def gradient(self, job_id: str) -> dict[str, Any]:
        """A job's search by gradient."""
        return self._json("GET", f"/v1/jobs/{job_id}/gradient")

    def healing(self, job_id: str) -> dict[str, Any]:
        """What healing has made of a job's networks."""
        return self._json("GET", f"/v1/jobs/{job_id}/healing")

    def evaluations(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Every evaluation of a job, page by page."""
        cursor: str | None = None
        while True:
            params = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
            page = self._json("GET", f"/v1/jobs/{job_id}/evaluations", params=params)
            yield from page["evaluations"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def request_export(
        self,
        job_id: str,
        architecture_id: str | None = None,
        rule: dict[str, Any] | None = None,
        formats: Sequence[str] | None = None,
        weights: str | None = None,
    ) -> dict[str, Any]:
        """Ask for an export.

        Args:
            architecture_id: id of a network that the job has evaluated.
            rule: which network of the front is meant: `pick` (`knee` or `most_accurate`) and `under`. With neither
                it is the knee, if that loses little to the largest network.
            formats: each in a folder of the archive; None: what an export has that names none.
            weights: weights of a network that was healed: `best` (the default), `healed` or `unhealed`.
        """
        named = {
            "architecture_id": architecture_id,
            "rule": rule,
            "formats": list(formats) if formats else None,
            "weights": weights,
        }
        body = {name: value for name, value in named.items() if value is not None}
        return self._json("POST", f"/v1/jobs/{job_id}/exports", json=body)

    def export(
        self,
        job_id: str,
        architecture_id: str | None = None,
        rule: dict[str, Any] | None = None,
        formats: Sequence[str] | None = None,
        weights: str | None = None,
    ) -> dict[str, Any]:
        """Ask for an export, as `request_export`, and wait until it has succeeded.

        Raises:
            ClientError: the export was refused or failed.
        """
        return self.finished_export(self.request_export(job_id, architecture_id, rule, formats, weights))

    def finished_export(self, export: dict[str, Any]) -> dict[str, Any]:
        """Wait until an export has succeeded.

        Raises:
            ClientError: it failed.
        """
        while export["state"] in ("queued", "running"):
            time.sleep(0.3)
            export = self._json("GET", f"/v1/exports/{export['id']}")
        if export["state"] == "failed":
            raise ClientError(f"Export {export['id']} failed: {export['message']}")
        return export

    def download(self, export: dict[str, Any], folder: Path) -> Path:
        """Save an export's archive in a folder, named by job and network; the file appears only when it is whole.

        A download that breaks off is taken up where it ended, now and by the next call.

        Raises:
            ClientError: the download broke off, or is not what was exported.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / archive_name(export)
        draft = target.with_name(f".{target.name}.{export['sha256'][:12]}.part")
        for attempt in range(DOWNLOAD_ATTEMPTS):
            try:
                self._fetch(export, draft)
                break
            except httpx.HTTPError as error:
                if attempt == DOWNLOAD_ATTEMPTS - 1:
                    raise ClientError(
                        f"The download from {self.url} broke off: {error}. Ask again, and it goes on where it ended."
                    ) from None
                time.sleep(RECONNECT_SECONDS)
        wrong = wrong_with(draft, export["sha256"])
        if wrong is not None:
            draft.unlink(missing_ok=True)
            raise ClientError(f"The download of export {export['id']} {wrong}. Try it again.")
        draft.rename(target)
        return target

    def _fetch(self, export: dict[str, Any], draft: Path) -> None:
        """Add to a file what it lacks of an export's archive."""
        held = draft.stat().st_size if draft.is_file() else 0
        if held and held == export.get("size_bytes"):
            return
        more = {"Range": f"bytes={held}-", "If-Range": f'"{export["sha256"]}"'} if held else {}
        with self._http.stream("GET", export["download_url"], headers=more) as answer:
            if answer.is_error:
                answer.read()
                draft.unlink(missing_ok=True)
                raise _error(answer)
            with draft.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)

    def events(self, job_id: str, patience_seconds: float = 60) -> Iterator[Event]:
        """A job's events until it is finished; a broken stream is taken up where it broke.

        Raises:
            ClientError: no such job, or no connection for longer than the patience.
        """
        yield from self._stream(f"/v1/jobs/{job_id}/events", {}, patience_seconds)

    def follow_logs(self, job_id: str, patience_seconds: float = 60, **filters: Any) -> Iterator[dict[str, Any]]:
        """A job's log until it is finished; filters as those of `logs`."""
        params = {"follow": True, **{name: value for name, value in filters.items() if value is not None}}
        for event in self._stream(f"/v1/jobs/{job_id}/logs", params, patience_seconds):
            yield event.data

    def _stream(self, path: str, params: dict[str, Any], patience_seconds: float) -> Iterator[Event]:
        """Server-sent events to their end; a broken stream is taken up where it broke, as long as somebody answers."""
        last: str | None = None
        lost: float | None = None  # since when nobody answers

        def heard(lines: Iterator[str]) -> Iterator[str]:
            nonlocal lost
            for line in lines:  # comments count as well: they say that somebody is there
                lost = None
                yield line

        while True:
            headers = {"Last-Event-ID": last} if last else {}
            patience = httpx.Timeout(30, read=60)
            try:
                with self._http.stream("GET", path, params=params, headers=headers, timeout=patience) as answer:
                    if answer.status_code == UNAVAILABLE:
                        raise httpx.ReadError("its servers are away")
                    if answer.is_error:
                        answer.read()
                        raise _error(answer)
                    for event in _parse(heard(answer.iter_lines())):
                        last = event.id or last
                        yield event
                    return
            except httpx.HTTPError as error:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > patience_seconds:
                    raise ClientError(f"Lost the connection to {self.url}: {error}") from None
                time.sleep(RECONNECT_SECONDS)

    def ready(self) -> bool:
        """Whether the API and its servers answer."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    # --- wire -----------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ClientError(
                f"No Winnow answers at {self.url} ({error}). Start one with `winnow up`, or set WINNOW_URL."
            ) from None
        if answer.is_error:
            raise _error(answer)
        body: dict[str, Any] = answer.json() if answer.content else {}
        return body


def _error(answer: httpx.Response) -> ClientError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    return ClientError(str(problem.get("detail") or f"HTTP {answer.status_code}"), problem)


def _parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from lines (WHATWG HTML, section 9.2)."""
    kind, event_id = "message", None
    data: list[str] = []
    for line in lines:
        if line == "":
            if data:
                yield Event(kind, json.loads("\n".join(data)), event_id)
            kind, data, event_id = "message", [], None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            event_id = value
