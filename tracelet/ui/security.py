"""Access control of the dashboard: checks every request and websocket before anything else handles it.

ASGI middleware on the server's event loop. It never reads a body or the store. It refuses: unknown names in `Host` (DNS
rebinding), pages of other origins (also on the websocket, which browsers do not protect), changes without our own
header (a form on another page cannot send it) and, if a token is set, requests without it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "tracelet_token"
"""Begins the name of the cookie. Its end is the port: browsers send the cookies of a host to all its ports."""
OTHER_SITES = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of requests that a page of another origin caused, images and scripts among them."""
OWN_HEADER = b"x-tracelet"
"""A page of another origin cannot send this header without a preflight request, which is never answered here."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SOCKET = "/_nicegui_ws/"
"""NiceGUI's own channel: its polling uses POST without our header; the origin check covers it."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""NiceGUI compiles its templates in the browser, hence both unsafe words; nothing is loaded from other hosts."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True)
class AccessRules:
    """The rules: `hosts` are names allowed besides loopback; with `beyond`, any numeric address; and the token."""

    hosts: frozenset[str] = frozenset()
    beyond: bool = False
    token: str = ""


class AccessControl:
    """The middleware."""

    def __init__(self, app: Application, rules: AccessRules) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        why = self._refusal(scope, headers)
        if why is not None:
            await _refuse(scope, receive, send, *why)
        elif self._brings_token(scope):
            await _exchange(scope, send, _cookie_name(headers), self.rules.token)
        else:
            await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return 421, f"The host name {host!r} is not allowed. To allow it: tracelet ui --allow-host NAME"
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            return 403, "Requests from pages of another origin are not allowed."
        method = scope.get("method", "GET")
        navigates = method == "GET" and headers.get(b"sec-fetch-mode") == "navigate" and not _is_embedded(headers)
        if headers.get(b"sec-fetch-site") in OTHER_SITES and not navigates:
            return 403, "Requests from pages of another origin are not allowed."
        if method not in SAFE and OWN_HEADER not in headers and not scope["path"].startswith(SOCKET):
            return 403, "Requests that change something need the header X-Tracelet."
        if self.rules.token and not self._has_token(headers) and not self._brings_token(scope):
            return 401, "A token is required: open the URL with ?token=... that `tracelet ui` printed."
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        if name in ("localhost", *self.rules.hosts):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.rules.beyond  # an address cannot be rebound, a name can

    def _has_token(self, headers: dict[bytes, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get(b"cookie", "")).get(_cookie_name(headers))
        except CookieError:
            morsel = None
        scheme, _, bearer = headers.get(b"authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else morsel.value if morsel else ""
        return self._equal(given)

    def _brings_token(self, scope: Scope) -> bool:
        return bool(self.rules.token) and any(
            name == "token" and self._equal(value)
            for name, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        )

    def _equal(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.rules.token.encode())


def _name_of(host: str) -> str:
    """The host without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        name, closed, _ = host[1:].partition("]")
        return name.lower() if closed else ""
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _cookie_name(headers: dict[bytes, str]) -> str:
    """By the port in the address, which a tunnel may have changed: that is what the browser sees."""
    port = headers.get(b"host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdecimal() else COOKIE


def _is_embedded(headers: dict[bytes, str]) -> bool:
    """Whether it is for a frame or an object in a page; a link to the dashboard opens a document."""
    return headers.get(b"sec-fetch-dest", "document") != "document"


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            added: Iterable[tuple[bytes, bytes]] = (pair for pair in HEADERS if pair[0] not in present)
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode() + b"\n"})


async def _exchange(scope: Scope, send: Send, cookie_name: str, token: str) -> None:
    """Move the token from the URL into a cookie, so that it is in no history and in no URL that is shared."""
    rest = [(n, v) for n, v in parse_qsl(scope["query_string"].decode("latin-1")) if n != "token"]
    path = "/" + scope["path"].lstrip("/")  # `//elsewhere` would redirect to another host
    target = path + ("?" + urlencode(rest) if rest else "")
    cookie = f"{cookie_name}={token}; Path=/; HttpOnly; SameSite=Lax"
    headers = [(b"location", target.encode()), (b"set-cookie", cookie.encode()), *HEADERS]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
