"""Wake-ups. A message carries one id and no truth: losing it costs seconds, because the reaper repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from service.errors import Unavailable

# Celery and the Redis client take longer to import than the rest of the API together, so each is imported
# when a queue is made.
if TYPE_CHECKING:
    from celery import Celery

Task = Literal["winnow.run_job", "winnow.run_export", "winnow.run_evaluate", "winnow.run_measurement"]

RUN_JOB: Task = "winnow.run_job"
RUN_EXPORT: Task = "winnow.run_export"
# Help with the evaluations of a job that another worker runs.
RUN_EVALUATE: Task = "winnow.run_evaluate"
RUN_MEASUREMENT: Task = "winnow.run_measurement"

# Task -> queue. Each queue has its own worker slot, so an export does not wait behind a training.
QUEUES: dict[Task, str] = {RUN_JOB: "train", RUN_EXPORT: "export", RUN_EVALUATE: "evaluate"}


def measuring_queue(target: str) -> str:
    """The queue that only one registered target listens to."""
    return f"measure.{target}"


# A dead broker must cost a request a moment, not a minute.
CONNECT_TIMEOUT_SECONDS = 2


# What every key of ours begins with, queues included: other programs may share the server.
NAMESPACE = "winnow:"


def database_of(url: str) -> int:
    """The number of Redis' database that a URL names, by path or by `db`; 0 if it names none.

    Raises:
        ValueError: it names two, or none that is a number.
    """
    parts = urlsplit(url)
    named = {value for name, value in parse_qsl(parts.query) if name in ("db", "virtual_host")}
    if parts.scheme in ("redis", "rediss") and parts.path.strip("/"):
        named.add(parts.path.strip("/"))
    if len(named) > 1 or not all(value.isdigit() for value in named):
        raise ValueError(
            f"WINNOW_REDIS_URL names the database {' and '.join(sorted(named))}; name one number, such as /0 or ?db=0."
        )
    return int(named.pop()) if named else 0


def celery_url(url: str) -> str:
    """The broker's URL as Celery spells it, with the same database: a socket path becomes `redis+socket://`."""
    parts, number = urlsplit(url), database_of(url)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={number}"
    return redis_url_of(url)


def redis_url_of(url: str) -> str:
    """The broker's URL as clients of Redis spell it, with the number of its database in one place."""
    parts, number = urlsplit(url), database_of(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("db", "virtual_host")]
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}?{urlencode([*kept, ('db', number)])}"
    return urlunsplit((parts.scheme, parts.netloc, f"/{number}", urlencode(kept), ""))


def make_celery(redis_url: str) -> Celery:
    """The Celery app, the same for those who send and those who work. Its choices: docs/decisions/0002."""
    from celery import Celery

    app = Celery("winnow", broker=celery_url(redis_url))
    app.conf.update(
        task_routes={task: {"queue": queue} for task, queue in QUEUES.items()},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_track_started=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "global_keyprefix": NAMESPACE,
            "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "socket_timeout": 30,
            "retry_on_timeout": True,
        },
    )
    return app


class Queue:
    """Sends wake-ups.

    Args:
        redis_url: `redis://host:port/0`, or `unix:///path/to/socket`.
    """

    def __init__(self, redis_url: str) -> None:
        from kombu.exceptions import OperationalError
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        self._away = (OperationalError, RedisError, OSError)
        self._app = make_celery(redis_url)
        try:
            self._redis = Redis.from_url(
                redis_url_of(redis_url),
                socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
                socket_timeout=CONNECT_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ValueError(f"WINNOW_REDIS_URL is not a Redis URL: {error}") from None

    def wake(self, task: Task, row_id: str, queue: str | None = None) -> None:
        """Tell a worker that a row wants attention.

        Args:
            queue: for a measurement, its target's; every other task has one of its own.

        Raises:
            Unavailable: the broker cannot be reached. The row is safe; the reaper will try again.
        """
        try:
            self._app.send_task(task, args=[row_id], retry=False, ignore_result=True, queue=queue or QUEUES[task])
        except self._away as error:
            raise Unavailable(f"Redis does not answer: {error}") from None

    def waiting(self, queue: str) -> int:
        """Number of wake-ups in a queue that no worker has taken yet.

        Raises:
            Unavailable: the broker cannot be reached.
        """
        try:
            length = self._redis.llen(f"{NAMESPACE}{queue}")
        except self._away as error:
            raise Unavailable(f"Redis does not answer: {error}") from None
        assert isinstance(length, int)
        return length

    def drain(self, queue: str) -> None:
        """Drop the wake-ups of a queue: nothing waits there, so they are of the past.

        Raises:
            Unavailable: the broker cannot be reached.
        """
        try:
            self._redis.delete(f"{NAMESPACE}{queue}")
        except self._away as error:
            raise Unavailable(f"Redis does not answer: {error}") from None

    def check(self) -> None:
        """Ask the broker for an answer.

        Raises:
            Unavailable: it gives none.
        """
        try:
            self._redis.ping()
        except self._away as error:
            raise Unavailable(f"Redis does not answer: {error}") from None


def policy_of(url: str) -> str | None:
    """What a Redis does where its memory is full; None where it does not say.

    Raises:
        Unavailable: it does not answer.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(redis_url_of(url), socket_connect_timeout=CONNECT_TIMEOUT_SECONDS) as redis:
            policy = redis.info("memory").get("maxmemory_policy")
    except RedisError as error:
        raise Unavailable(f"Redis does not answer: {error}") from None
    return None if policy is None else str(policy)
