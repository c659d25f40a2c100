"""What takes long on the wire: uploads, downloads and streams of events. Each is taken up where it broke off."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from service.archives import archive_name, wrong_with
from service.client.steps import (
    ClientError,
    Item,
    Items,
    Open,
    Pause,
    Read,
    Request,
    Steps,
    Told,
    Work,
    asked,
    streamed,
)

T = TypeVar("T")

# A stream that broke is taken up again after so long.
RECONNECT_SECONDS = 1.0
# Whoever waits for a job or an export bears an API that is away for so long.
PATIENCE_SECONDS = 120.0
# A download that breaks off is taken up so often.
DOWNLOAD_ATTEMPTS = 5
# The status of an API whose database is away for a moment.
UNAVAILABLE = 503
# Bytes of a part of an upload, and how often one is tried again.
PART_BYTES, UPLOAD_TRIES = 16_000_000, 5


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `id` is None for snapshots."""

    kind: str
    data: dict[str, Any]
    id: str | None


def refusal(answer: httpx.Response) -> ClientError:
    """What an answer refuses, as an error."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    return ClientError(
        str(problem.get("detail") or f"HTTP {answer.status_code}"), {"status": answer.status_code, **problem}
    )


def given(**named: Any) -> dict[str, Any]:
    """What is not None."""
    return {name: value for name, value in named.items() if value is not None}


class Transfers:
    """An address, how it is asked, and what takes long."""

    url: str

    def _ask(self, method: str, path: str, **arguments: Any) -> Steps[Told]:
        """JSON of a route.

        Raises:
            ClientError: it refused, or nobody answers.
        """
        try:
            answer: httpx.Response = yield Request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ClientError(
                f"No Winnow answers at {self.url} ({error}). Start one with `winnow up`, or set WINNOW_URL."
            ) from None
        if answer.is_error:
            raise refusal(answer)
        body: Told = answer.json() if answer.content else {}
        return body

    def _look(self, path: str) -> Steps[Told]:
        """JSON of a route, for somebody who waits: an API that is away for a moment is asked again.

        Raises:
            ClientError: it refused, or nobody has answered for `PATIENCE_SECONDS`.
        """
        begin = time.monotonic()
        while True:
            try:
                return (yield from self._ask("GET", path))
            except ClientError as error:
                is_away = error.problem.get("status", UNAVAILABLE) in (429, UNAVAILABLE)
                if not is_away or time.monotonic() - begin > PATIENCE_SECONDS:
                    raise
                yield Pause(RECONNECT_SECONDS)

    @asked
    def ready(self) -> Steps[bool]:
        """Whether the API and its servers answer."""
        try:
            answer: httpx.Response = yield Request("GET", "/readyz")
        except httpx.HTTPError:
            return False
        return answer.is_success

    # --- uploads ----------------------------------------------------------------------------------

    @asked
    def begin_upload(self, kind: str, about: dict[str, Any]) -> Steps[Told]:
        """Announce a file: `datasets` or `checkpoints`."""
        return (yield from self._ask("POST", f"/v1/{kind}", json=about))

    @asked
    def upload(self, upload_id: str) -> Steps[Told]:
        """An upload, and where to go on with it."""
        return (yield from self._ask("GET", f"/v1/uploads/{upload_id}"))

    @asked
    def send_upload(self, row: dict[str, Any], file: Path) -> Steps[Told]:
        """Send what has not arrived of a file, and have it checked; a part that breaks off is sent again.

        Raises:
            ClientError: it is refused, or nobody answers several times.
        """
        tries = 0
        path = f"/v1/uploads/{row['id']}"
        headers = {"Content-Type": "application/octet-stream"}
        while row["received_bytes"] < row["size_bytes"]:
            offset = row["received_bytes"]
            part = yield Work(functools.partial(_part, file, offset))
            try:
                sent = {"params": {"offset": offset}, "content": part, "headers": headers, "timeout": 300}
                row = yield from self._ask("PUT", path, **sent)
                tries = 0
            except ClientError as error:
                tries += 1
                if tries > UPLOAD_TRIES or error.problem.get("status", UNAVAILABLE) not in (409, 429, UNAVAILABLE):
                    raise
                yield Pause(RECONNECT_SECONDS * tries)
                row = yield from self._ask("GET", path)
        return (yield from self._ask("POST", f"{path}/finish", timeout=3600))

    # --- downloads --------------------------------------------------------------------------------

    @asked
    def download(self, export: dict[str, Any], folder: Path) -> Steps[Path]:
        """Save an export's archive in a folder, named by job and network; the file appears only when it is whole.

        A download that breaks off is taken up where it ended, now and by the next call.

        Raises:
            ClientError: the download broke off, is not what was exported, or cannot be written.
        """
        return (yield from self._download(export, folder))

    def _download(self, export: dict[str, Any], folder: Path) -> Steps[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / archive_name(export)
        draft = target.with_name(f".{target.name}.{export['sha256'][:12]}.part")
        for attempt in range(DOWNLOAD_ATTEMPTS):
            try:
                yield from self._fetch(export, draft)
                break
            except httpx.HTTPError as error:
                if attempt == DOWNLOAD_ATTEMPTS - 1:
                    raise ClientError(
                        f"The download from {self.url} broke off: {error}. Ask again, and it goes on where it ended."
                    ) from None
                yield Pause(RECONNECT_SECONDS)
        wrong = yield Work(lambda: wrong_with(draft, export["sha256"]))
        if wrong is not None:
            draft.unlink(missing_ok=True)
            raise ClientError(f"The download of export {export['id']} {wrong}. Try it again.")
        draft.rename(target)
        return target

    def _fetch(self, export: dict[str, Any], draft: Path) -> Steps[None]:
        """Add to a file what it lacks of an export's archive."""
        held = draft.stat().st_size if draft.is_file() else 0
        if held and held == export.get("size_bytes"):
            return
        more = {"Range": f"bytes={held}-", "If-Range": f'"{export["sha256"]}"'} if held else {}
        answer: httpx.Response = yield Open(Request("GET", export["download_url"], headers=more))
        if answer.is_error:
            yield Read("all")
            draft.unlink(missing_ok=True)
            raise refusal(answer)
        try:
            with draft.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                while (piece := (yield Read("bytes"))) is not None:
                    file.write(piece)
        except OSError as error:
            raise ClientError(
                f"The download of export {export['id']} cannot be written in {draft.parent}: {error.strerror}. Make "
                "room, or choose another folder, and ask again: it goes on where it ended."
            ) from None

    # --- streams ----------------------------------------------------------------------------------

    @streamed
    def events(self, job_id: str, patience_seconds: float = 60) -> Items[Event]:
        """A job's events until it is finished; a broken stream is taken up where it broke.

        Raises:
            ClientError: no such job, or no connection for longer than the patience.
        """
        yield from self._stream(f"/v1/jobs/{job_id}/events", {}, patience_seconds, lambda event: event)

    @streamed
    def follow_logs(self, /, job_id: str, patience_seconds: float = 60, **filters: Any) -> Items[Told]:
        """A job's log until it is finished; filters as those of `logs`."""
        params = {"follow": True, **given(**filters)}
        yield from self._stream(f"/v1/jobs/{job_id}/logs", params, patience_seconds, lambda event: event.data)

    def _stream(
        self, path: str, params: dict[str, Any], patience_seconds: float, shown: Callable[[Event], T]
    ) -> Items[T]:
        """Server-sent events to their end; a broken stream is taken up where it broke, as long as somebody answers."""
        last: str | None = None
        lost: float | None = None  # since when nobody answers
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            patience = httpx.Timeout(30, read=60)
            try:
                answer: httpx.Response = yield Open(Request("GET", path, params, headers, timeout=patience))
                if answer.status_code == UNAVAILABLE:
                    raise httpx.ReadError("its servers are away")
                if answer.is_error:
                    yield Read("all")
                    raise refusal(answer)
                parser = _parser()
                next(parser)
                while (line := (yield Read("lines"))) is not None:
                    lost = None  # comments count as well: they say that somebody is there
                    if (event := parser.send(line)) is not None:
                        last = event.id or last
                        yield Item(shown(event))
                return
            except httpx.HTTPError as error:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > patience_seconds:
                    raise ClientError(f"Lost the connection to {self.url}: {error}") from None
                yield Pause(RECONNECT_SECONDS)


def _part(file: Path, offset: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(PART_BYTES)


def _parser() -> Generator[Event | None, str, None]:
    """Lines in, server-sent events out (WHATWG HTML, section 9.2)."""
    kind, event_id = "message", None
    data: list[str] = []
    event: Event | None = None
    while True:
        line = yield event
        event = None
        if line == "":
            if data:
                event = Event(kind, json.loads("\n".join(data)), event_id)
            kind, data, event_id = "message", [], None
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            event_id = value
