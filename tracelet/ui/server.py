"""Starts the dashboard: finds a port, installs the access control, and serves until Ctrl-C.

Called by `tracelet ui` on the main thread of a process of its own. Reachable from other machines only on request.
A token is required unless this machine may do without: its other users reach the loopback too.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from tracelet.errors import StoreError
from tracelet.store.store import Store
from tracelet.ui.security import AccessControl, AccessRules

PORT = 8765
"""The dashboard's port unless it is taken."""
BACKLOG = 2048
"""Connections that wait until the server accepts them; uvicorn's own default."""
TOKEN_BYTES = 24


@dataclass(frozen=True)
class Options:
    """The options of `tracelet ui`."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None: `PORT`, or any free one if that is taken; 0: any free one."""
    token: str = ""
    """Empty: a random one."""
    without_token: bool = False
    """Admit every program of this machine. Other machines need a token all the same."""
    read_only: bool = False
    names: tuple[str, ...] = field(default=())
    """Host names that the dashboard accepts besides its own."""

    @property
    def beyond(self) -> bool:
        """Whether other machines can reach it."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


def rules(options: Options) -> AccessRules:
    """The access rules. There is no token only on request, and never for other machines."""
    names = {name.lower() for name in options.names}
    if options.beyond:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower(), options.host.lower()}
    if options.without_token and not options.beyond:
        return AccessRules(frozenset(names), options.beyond, "")
    token = options.token or secrets.token_urlsafe(TOKEN_BYTES)
    return AccessRules(frozenset(names), options.beyond, token)


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket. StoreError if the requested port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in (PORT, 0) if port is None else (port,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, attempt))
            listener.listen(BACKLOG)  # now: a browser that opens the URL as soon as it is printed must not be refused
        except OSError as error:
            listener.close()
            if port is not None:
                raise StoreError(
                    f"port {port} of {host} cannot be used ({error.strerror}). Try another port, or any: --port 0"
                ) from error
            continue
        return listener
    raise StoreError(f"there is no free port on {host}")


def serve(store: Store, options: Options, ready: Callable[[str], None]) -> None:
    """Serve until interrupted. `ready` is called with the URL once it can be opened."""
    allowed = rules(options)
    listener = listen(options.host, options.port)
    port = listener.getsockname()[1]
    name = "127.0.0.1" if options.host == "0.0.0.0" else options.host  # noqa: S104  where a browser finds it
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    _run(
        store, options, allowed, listener, lambda: ready(address + (f"?token={allowed.token}" if allowed.token else ""))
    )


def _run(
    store: Store, options: Options, allowed: AccessRules, listener: socket.socket, ready: Callable[[], None]
) -> None:
    os.environ.setdefault("NICEGUI_STORAGE_PATH", os.devnull)  # it stores nothing for us, and creates no folder here
    import uvicorn
    from nicegui import ui

    from tracelet.ui.api.application import Service, application
    from tracelet.ui.pages import build

    service = Service(store, options.read_only)
    app = application(service)
    build(service)
    ui.run_with(
        app, title="tracelet", dark=None, tailwind=False, reconnect_timeout=10, show_welcome_message=False,
        favicon=MARK, storage_secret=None,
    )  # fmt: skip
    config = uvicorn.Config(
        AccessControl(app, allowed), log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        ws_max_size=4 * 1024 * 1024, timeout_graceful_shutdown=2,
    )  # fmt: skip
    app.router.on_startup.append(ready)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # the usual way to stop it
    finally:
        listener.close()


MARK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5c8f"/>'
    '<path d="M5 22l6-9 5 5 4-8 7 6" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)
