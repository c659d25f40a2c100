"""Webhooks: addresses of people that hear of states of jobs. Nothing is sent to an address that is not public.

A name is looked up when the webhook is made and again for each message, and the connection goes to the address
that was checked: a name that points elsewhere later leads nowhere. Redirects are not followed, proxies not used.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.auth.keys import Identity
from service.errors import InvalidRequest, NotFound, QuotaExceeded
from service.settings import Settings
from service.store import outbox
from service.store.models import Delivery, JobState, Webhook
from service.store.session import Database
from service.version import version

log = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# What may be told of one key.
MOST_WEBHOOKS = 20
TIMEOUT_SECONDS = 10.0
# How often messages that are due are looked for, and how many are sent in one go.
LOOK_SECONDS, AT_ONCE = 2.0, 20
# Prefixes of IPv6 that stand for an IPv4 address in their last bits or after their first.
NAT64, SIX_TO_FOUR = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16")


class Refused(Exception):
    """Nothing is sent there; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message goes: what stands in the request, and the checked address that is connected to."""

    url: SplitResult
    host: str
    port: int
    address: Address


def create(session: Session, url: str, states: Sequence[JobState], settings: Settings, who: Identity) -> Webhook:
    """A webhook with a new secret.

    Raises:
        InvalidRequest: the address is none, or not one that may be told.
        QuotaExceeded: the key has too many.
    """
    try:
        locate(url, settings.webhook_allow)
    except Refused as error:
        raise InvalidRequest(str(error)) from None
    count = select(func.count()).select_from(Webhook).where(Webhook.owner_id.is_not_distinct_from(who.key_id))
    if (session.scalar(count) or 0) >= MOST_WEBHOOKS:
        raise QuotaExceeded(f"A key has at most {MOST_WEBHOOKS} webhooks; remove one first.")
    row = Webhook(
        id=secrets.token_hex(6),
        owner_id=who.key_id,
        url=url,
        secret=f"whsec_{secrets.token_urlsafe(32)}",
        states=[str(state) for state in dict.fromkeys(states)],
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, webhook_id: str) -> Webhook:
    """A webhook by its id.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Webhook, webhook_id)
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id!r}. GET /v1/webhooks lists yours.")
    return row


def listed(session: Session, who: Identity) -> list[Webhook]:
    """A key's webhooks, newest first; for admins all."""
    query = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id)
    if not who.is_admin:
        query = query.where(Webhook.owner_id == who.key_id)
    return list(session.scalars(query))


def deliveries(session: Session, webhook_id: str, limit: int) -> list[Delivery]:
    """Messages to a webhook, newest first."""
    query = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.id.desc()).limit(limit)
    return list(session.scalars(query))


# --- where ------------------------------------------------------------------------------------------


def locate(url: str, allowed: str) -> Place:
    """Where a URL leads, if that may be told anything.

    Args:
        allowed: names, addresses and networks, separated by commas, that may be told although they are not public.

    Raises:
        Refused: it is no such URL, or leads to an address that is not public.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Refused(f"{url!r} is no URL: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
        raise Refused(f"A webhook is http:// or https:// with a host, without user and fragment; got {url!r}.")
    host = parts.hostname.rstrip(".")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"{host} has no address: {error}.") from None
    addresses = [ipaddress.ip_address(str(one[4][0]).split("%")[0]) for one in found]
    closed = [one for one in addresses if not (is_public(one) or _is_allowed(host, one, allowed))]
    if closed or not addresses:
        raise Refused(
            f"{host} leads to {', '.join(map(str, closed))}, which is not public; WINNOW_WEBHOOK_ALLOW may name it."
        )
    return Place(parts, host, port, addresses[0])


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet, also where it stands for another one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address in SIX_TO_FOUR:
            return is_public(ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


def _is_allowed(host: str, address: Address, allowed: str) -> bool:
    for word in (part.strip() for part in allowed.split(",")):
        if not word:
            continue
        if word.lower() == host.lower():
            return True
        with suppress(ValueError):
            if address in ipaddress.ip_network(word, strict=False):
                return True
    return False


# --- sending ----------------------------------------------------------------------------------------


def signature(secret: str, moment: int, body: bytes) -> str:
    """What proves that a message is ours: HMAC-SHA256 of `MOMENT.BODY` under the secret."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def send(place: Place, secret: str, delivery_id: int, payload: object) -> int:
    """Send a message; the status of the answer.

    Raises:
        OSError: nobody answers in time.
        http.client.HTTPException: the answer is no HTTP.
    """
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Winnow/{version()}",
        "Winnow-Delivery": str(delivery_id),
        "Winnow-Signature": signature(secret, int(time.time()), body),
        "Connection": "close",
    }
    connection = _connection(place)
    try:
        target = (place.url.path or "/") + (f"?{place.url.query}" if place.url.query else "")
        connection.request("POST", target, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _connection(place: Place) -> http.client.HTTPConnection:
    plain = socket.create_connection((str(place.address), place.port), timeout=TIMEOUT_SECONDS)
    connection = http.client.HTTPConnection(place.host, place.port, timeout=TIMEOUT_SECONDS)
    if place.url.scheme == "https":
        connection.default_port = 443
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
        except BaseException:
            plain.close()
            raise
    else:
        connection.sock = plain
    return connection


class Courier:
    """Sends what is due, on a thread of its own, until it is stopped. Any number of them may work at once."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a message that is being sent is tried again by another."""
        self._stopped.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                while not self._stopped.is_set() and self.deliver() == AT_ONCE:
                    pass
            except SQLAlchemyError as error:
                log.warning("webhooks wait: the database is away (%s)", type(error).__name__)

    def deliver(self) -> int:
        """Send what is due now, without a transaction open meanwhile; how many messages that were."""
        with self._database.transaction() as session:
            taken = outbox.take(session, AT_ONCE)
            session.expunge_all()
        for delivery, hook in taken:
            if self._stopped.is_set():
                break
            status, error = self._attempt(delivery, hook)
            with self._database.transaction() as session:
                outbox.note(session, delivery.id, status, error)
        return len(taken)

    def _attempt(self, delivery: Delivery, hook: Webhook) -> tuple[int | None, str | None]:
        message = {**delivery.payload, "delivery": delivery.id, "at": delivery.created_at.isoformat()}
        try:
            place = locate(hook.url, self._settings.webhook_allow)
            status = send(place, hook.secret, delivery.id, message)
        except (Refused, OSError, http.client.HTTPException, ValueError) as error:
            return None, str(error) or type(error).__name__
        return status, None if 200 <= status < 300 else f"It answered {status}."
