"""Sessions of browsers: a signed cookie that names a key, and the token that proves that a page is ours.

The cookie is signed with a secret of the installation (`WINNOW_DATA_DIR/session.key`), HttpOnly and SameSite. It
holds no secret itself, and the key is looked up with every request, so that revoking it ends its sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from service.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from itsdangerous import URLSafeTimedSerializer

CSRF_HEADER = "x-csrf-token"
SECRET_FILE = "session.key"


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """One signed-in browser."""

    key_id: str
    nonce: str


class Sessions:
    """Signs and reads cookies.

    Args:
        data_dir: where the secret lies; it is made when the first browser signs in.
        hours: that a browser stays signed in.
    """

    def __init__(self, data_dir: Path, hours: float) -> None:
        self._path = data_dir / SECRET_FILE
        self._seconds = int(hours * 3600)
        self._secret: str | None = None

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers share cookies among the ports of a machine, so it tells installations apart."""
        return f"winnow_{hashlib.sha256(self._key().encode()).hexdigest()[:8]}"

    def start(self, request: Request, response: Response, key_id: str) -> BrowserSession:
        """Sign a browser in."""
        started = BrowserSession(key_id, secrets.token_urlsafe(16))
        response.set_cookie(
            self.cookie,
            self._serializer().dumps([started.key_id, started.nonce]),
            max_age=self._seconds,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return started

    def end(self, response: Response) -> None:
        """Sign a browser out."""
        response.delete_cookie(self.cookie, path="/", httponly=True, samesite="lax")

    def read(self, request: Request) -> BrowserSession | None:
        """The session of a request; None if it has no cookie of ours.

        Raises:
            Unauthorized: the cookie is not one that was signed here, or is too old.
        """
        from itsdangerous import BadData  # not needed to start

        if not request.cookies or (text := request.cookies.get(self.cookie)) is None:
            return None
        try:
            key_id, nonce = self._serializer().loads(text, max_age=self._seconds)
        except (BadData, ValueError, TypeError):
            raise Unauthorized("This session is over. Sign in again.") from None
        return BrowserSession(str(key_id), str(nonce))

    def csrf_token(self, session: BrowserSession) -> str:
        """What pages of the session send along with whatever may change something."""
        return hmac.new(self._key().encode(), f"csrf {session.nonce}".encode(), hashlib.sha256).hexdigest()

    def check_csrf(self, request: Request, session: BrowserSession) -> None:
        """See to it that a request was made by one of our pages.

        Raises:
            Forbidden: the token is missing or another session's.
        """
        if not hmac.compare_digest(request.headers.get(CSRF_HEADER, ""), self.csrf_token(session)):
            raise Forbidden("The X-CSRF-Token of this session is missing or wrong. Load the page again.")

    def _serializer(self) -> URLSafeTimedSerializer:
        from itsdangerous import URLSafeTimedSerializer  # not needed to start

        return URLSafeTimedSerializer(self._key(), salt="winnow session")

    def _key(self) -> str:
        if self._secret is None:
            self._secret = read_or_make(self._path)
        return self._secret


def read_or_make(path: Path) -> str:
    """A secret from a file that only its user reads; the first of several processes makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        write_private(draft, secrets.token_urlsafe(32))
        try:
            os.link(draft, path)  # fails where another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user may read, from its first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
