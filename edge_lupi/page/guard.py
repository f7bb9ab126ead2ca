"""Who may ask what of a page's server: ASGI requests in; through to the page, or refused with a status and one sentence.

Host ─► rate ─► token ─► Origin ─► the page
 403     429     401       403
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from edge_lupi.page.address import Address
from edge_lupi.page.rates import Rates
from edge_lupi.runtime.sources.source import say
from edge_lupi.words import json_text, printable

__all__ = ["COOKIE", "App", "Guard", "Receive", "Scope", "Send", "header", "reply"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "edge_lupi_page"
REQUESTS_PER_SECOND = 50.0  # of one address
BURST = 100.0
SAFE_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"connection", b"close"),  # a connection is one request, so time limits hold for both
]
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")  # what proxies write whose request it is into
NOTHING = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Guard:
    """The app behind these checks, for requests and sockets alike. With `programs`, changes may come from what is no browser,
    and so names no Origin; every browser does."""

    def __init__(self, app: App, address: Address, *, programs: bool = False) -> None:
        self._app = app
        self._address = address
        self._programs = programs
        self._rates = Rates(REQUESTS_PER_SECOND, BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let one socket open."""
        if scope["type"] not in ("http", "websocket"):
            return
        refusal = self._refusal(scope)
        if refusal:
            kind = "http" if scope["type"] == "http" else "websocket.http"
            await reply(send, refusal[0], {"error": refusal[1]}, kind=f"{kind}.response")
        elif self._address.token and _query_token(scope) is not None:
            await reply(
                send, 303, {}, [(b"location", b"/"), (b"set-cookie", self._cookie(scope))]
            )  # out of the address bar
        else:
            await self._through(scope, receive, send)

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To the app. A fault of ours is answered by the server with 500, and is not silent here."""
        try:
            await self._app(scope, receive, send)
        except OSError:  # of a connection that is gone
            raise
        except Exception as error:
            place = scope["path"].split("/")[1]  # what comes behind it may be somebody's name
            say(f"a request to /{printable(place)[:40]} failed ({type(error).__name__})")
            raise

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        host = header(scope, b"host")
        if not self._address.names(host):
            return 403, "expected a request to this computer by its address, got another name in Host"
        if not self._rates.admits((scope.get("client") or ("",))[0]):
            return 429, "too many requests: wait a second"
        if not self._address.admits(_query_token(scope) or _given_token(scope)):
            return (
                401,
                "expected the token of this page: open the address that edge-lupi printed, or with /?token= the one of its file",
            )
        if self._address.token is None and any(header(scope, name) for name in FORWARDED):
            return (
                403,
                "expected a request from this computer, got one through a proxy, behind which anybody may be: serve with a token",
            )
        origin, changes = header(scope, b"origin"), scope.get("method", "GET") not in ("GET", "HEAD")
        if (origin or (changes and not self._programs)) and origin != f"http://{host}" and origin != f"https://{host}":
            return 403, "expected a request from this page itself, got one from elsewhere"
        if header(scope, b"sec-fetch-site") not in ("", "same-origin", "none") and scope["path"] != "/":
            return 403, "expected a request from this page itself, got one from elsewhere"
        return None

    def _cookie(self, scope: Scope) -> bytes:
        secure = "; Secure" if self._address.is_proxy(header(scope, b"host")) else ""
        return f"{COOKIE}={self._address.token}; HttpOnly; SameSite=Strict; Path=/{secure}".encode()


async def reply(
    send: Send,
    status: int,
    said: Any,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    kind: str = "http.response",
) -> None:
    """A whole answer in JSON; `kind` is of ASGI's messages, another one for a socket that is not let open."""
    body = json_text(said).encode()
    content = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    policy = [(b"content-security-policy", NOTHING)]
    all_headers = content + policy + SAFE_HEADERS + (headers or [])
    await send({"type": f"{kind}.start", "status": status, "headers": all_headers})
    await send({"type": f"{kind}.body", "body": body})


def header(scope: Scope, name: bytes) -> str:
    """The one header of this name; nothing where there is none, or several."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def _query_token(scope: Scope) -> str | None:
    key, _, value = scope["query_string"].decode("latin-1").partition("=")
    return value if key == "token" and scope["path"] == "/" and scope.get("method") == "GET" else None


def _given_token(scope: Scope) -> str:
    """Of the cookie that the page's address gave, or of a program's header."""
    kind, _, token = header(scope, b"authorization").partition(" ")
    if kind.lower() == "bearer":
        return token
    try:
        cookie = SimpleCookie(header(scope, b"cookie")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
