"""What is checked of every request before anybody looks at it: where it arrived, as whom, and from which page.

A browser sends requests for any page that its user opens. `Host` unmasks names that were pointed at this machine
(DNS rebinding), `Origin` and `Sec-Fetch-Site` other people's pages, and a header that no form can send unmasks
forms in browsers that send neither. See OWASP, "Cross-Site Request Forgery Prevention", and Google's "Fetch Metadata
resource isolation policy" (web.dev/fetch-metadata).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

    from service.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Sent by our pages and the command line with requests that have no JSON body.
MARK = "x-winnow"
DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def allowed_hosts(setting: str | None, listens_on: str) -> frozenset[str]:
    """Names under which the API may be asked: loopback ones, those of the setting, and the address it listens on."""
    named = {part.strip().lower() for part in (setting or "").split(",") if part.strip()}
    own = {listens_on.lower().strip("[]")} - {"0.0.0.0", "::", ""}
    return frozenset({*LOOPBACK_NAMES, *named, *own})


def refuse_open_network(settings: Settings) -> None:
    """Refuse to answer a network without asking for keys.

    Raises:
        ValueError: `WINNOW_AUTH` is off and the address is not loopback.
    """
    if settings.auth == "off" and not is_loopback(settings.host):
        raise ValueError(
            f"WINNOW_AUTH is off, and WINNOW_HOST is {settings.host!r}: whoever reaches that address could do "
            "everything. Listen on 127.0.0.1, or leave WINNOW_AUTH on and make keys with `winnow keys create`."
        )


def split_host(text: str) -> tuple[str, int | None] | None:
    """Name and port of a Host header, or of what follows the scheme of an origin; None if it is neither."""
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return name.rstrip("."), port


def refusal(scope: Scope, headers: Mapping[str, str], allowed: frozenset[str], *, keyless: bool) -> str | None:
    """Why a request is not let in, or None.

    Args:
        keyless: nobody needs a key, so the request must have arrived on a loopback address.
    """
    arrived = (scope.get("server") or ("", 0))[0]
    if keyless and _is_address(arrived) and not is_loopback(arrived):
        return "WINNOW_AUTH is off, and without keys Winnow answers this machine alone. Turn it on for a network."
    host = split_host(headers.get("host", ""))
    if host is None or not _is_allowed(host, allowed):
        return (
            f"This API is not known as {headers.get('host', '')[:200]!r}. Name the host in WINNOW_ALLOWED_HOSTS if it "
            "should be."
        )
    if not _is_own_origin(headers.get("origin"), host, allowed):
        return f"Pages of {headers['origin'][:200]!r} may not use this API."
    site, navigates = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode") == "navigate"
    changes = scope["method"] not in SAFE_METHODS
    if site not in (None, "same-origin", "none") and (changes or not navigates):
        return "Pages of other sites may link to this one and do nothing else."
    if changes and not _is_marked(headers):
        return (
            "A request that may change something needs a header that a form cannot send: Authorization, "
            "Content-Type: application/json, or X-Winnow: 1."
        )
    return None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_allowed(host: tuple[str, int | None], allowed: frozenset[str]) -> bool:
    name, port = host
    return name in allowed or (port is not None and f"{name}:{port}" in allowed)


def _is_own_origin(origin: str | None, host: tuple[str, int | None], allowed: frozenset[str]) -> bool:
    """Whether there is no origin, or it is this API's. A proxy may have taken the port away, so that a host that is
    named in the settings counts as well; loopback names do not: other programs of this machine serve pages too."""
    if origin is None:
        return True
    scheme, separator, rest = origin.partition("://")
    theirs = split_host(rest)
    if not separator or theirs is None or scheme not in DEFAULT_PORTS:
        return False
    default = DEFAULT_PORTS[scheme]
    if theirs[0] == host[0] and (theirs[1] or default) == (host[1] or default):
        return True
    return _is_allowed(theirs, allowed - set(LOOPBACK_NAMES)) and not is_loopback(theirs[0])


def _is_marked(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return "authorization" in headers or MARK in headers or kind == "application/json" or kind.endswith("+json")
