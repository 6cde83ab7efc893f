"""The account behind a key: asks Weights & Biases and ClearML with the key that their clients would use. Used by
`doctor`.

Plain HTTP requests, without an SDK. A key is sent only to its own server; the result is a name.
"""

from __future__ import annotations

import base64
import json
import netrc
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0
"""Seconds for one request."""
DENIED_STATUSES = (401, 403)


class AccessDenied(Exception):
    """The server refuses the key."""


def account_name(name: str, address: str, options: Mapping[str, Any]) -> str:
    """The account name on the server; empty if the server does not return one. Raises AccessDenied."""
    look_up = LOOKUPS.get(name)
    if look_up is None:
        return ""
    try:
        return look_up(address.rstrip("/"), options)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in DENIED_STATUSES:
            raise AccessDenied from error
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a server that answers something else: there is no name to show
    return ""


def _wandb(address: str, options: Mapping[str, Any]) -> str:
    key = options.get("api_key") or os.environ.get("WANDB_API_KEY") or _netrc_password(urlsplit(address).hostname or "")
    if not key:
        return ""
    answer = _post(f"{address}/graphql", {"query": "query { viewer { username entity } }"}, _basic("api", key))
    viewer = answer["data"]["viewer"]
    if viewer is None:
        raise AccessDenied
    return str(viewer["username"] or viewer["entity"])


def _clearml(address: str, options: Mapping[str, Any]) -> str:
    access = options.get("access_key") or os.environ.get("CLEARML_API_ACCESS_KEY") or _clearml_conf("access_key")
    secret = options.get("api_key") or os.environ.get("CLEARML_API_SECRET_KEY") or _clearml_conf("secret_key")
    if not (access and secret):
        return ""
    token = _post(f"{address}/auth.login", {}, _basic(access, secret))["data"]["token"]
    user = _post(f"{address}/users.get_current_user", {}, f"Bearer {token}")["data"]["user"]
    return str(user["name"])


LOOKUPS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {"wandb": _wandb, "clearml": _clearml}


def _netrc_password(host: str) -> str:
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc_password"):
        try:
            found = netrc.netrc(Path(path).expanduser()).authenticators(host) if path else None
        except (OSError, netrc.NetrcParseError):
            continue
        if found:
            return found[2] or ""
    return ""


def _clearml_conf(name: str) -> str:
    path = Path(os.environ.get("CLEARML_CONFIG_FILE") or "~/clearml.conf").expanduser()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf'^[^#\n]*\b{name}"?\s*[:=]\s*"?([^"\s,}}]+)', text, re.MULTILINE)
    return found[1] if found else ""


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _post(url: str, body: Mapping[str, Any], authorization: str) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - http, see `check_server`
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT) as answer:
        return json.load(answer)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Send no other request."""
