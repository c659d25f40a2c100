"""Rate limits: how many requests a key, or an address without one, may send. Counted by `limits`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from service.errors import TooMany
from service.queue import NAMESPACE, redis_url_of
from service.settings import Settings

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import RateLimiter

log = logging.getLogger(__name__)

# Wrong keys and links from one address.
WRONG_KEYS = "20/minute"


class Rates:
    """Counts requests, in this process or, shared by several, in Redis.

    Attributes:
        shared: whether counting asks Redis.
    """

    def __init__(self, settings: Settings) -> None:
        self._limit, self._redis_url = settings.rate_limit, settings.redis_url
        self.shared = settings.rate_limit_shared == "on"

    def count(self, who: str) -> None:
        """Count a request.

        Raises:
            TooMany: it is one too many.
        """
        if self._limit != "off":
            self._hit(self._limit, "requests", who)

    def wrong_key(self, address: str) -> None:
        """Count a key or link that was wrong.

        Raises:
            TooMany: there were too many.
        """
        self._hit(WRONG_KEYS, "wrong keys", address)

    def check_wrong_keys(self, address: str) -> None:
        """Refuse an address that has sent too many wrong keys, before another is looked at.

        Raises:
            TooMany: it has.
        """
        limit = _parsed(WRONG_KEYS)
        if not self._asking(lambda by: by.test(limit, "wrong keys", address)):
            raise _too_many(WRONG_KEYS, "wrong keys")

    def _hit(self, text: str, kind: str, who: str) -> None:
        limit = _parsed(text)
        if not self._asking(lambda by: by.hit(limit, kind, who)):
            raise _too_many(text, kind)

    def _asking(self, ask: Callable[[RateLimiter], bool]) -> bool:
        if self.shared:
            try:
                return bool(ask(self._in_redis))
            except Exception as error:
                # Redis is only a wake-up elsewhere too: without it each process counts by itself.
                log.warning("requests are counted by this process alone: %s", type(error).__name__)
        return bool(ask(self._in_process))

    @cached_property
    def _in_process(self) -> RateLimiter:
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter

        return FixedWindowRateLimiter(MemoryStorage())

    @cached_property
    def _in_redis(self) -> RateLimiter:
        from limits.storage import storage_from_string
        from limits.strategies import FixedWindowRateLimiter

        url = redis_url_of(self._redis_url or "").replace("unix://", "redis+unix://", 1)
        options: dict[str, Any] = {"socket_connect_timeout": 1, "socket_timeout": 1, "key_prefix": f"{NAMESPACE}limits"}
        return FixedWindowRateLimiter(storage_from_string(url, **options))


@cache
def _parsed(text: str) -> RateLimitItem:
    from limits import parse

    return parse(text)


def _too_many(limit: str, kind: str) -> TooMany:
    number, unit = limit.split("/")
    return TooMany(f"At most {number} {kind} a {unit} are taken. Wait a moment, then go on.", retry_after_seconds=5)
