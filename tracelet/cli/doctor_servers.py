"""Where wandb and clearml find their server and their credentials, and whether the server responds. Used by `doctor`.

Sends plain HTTP requests without an SDK, to avoid a slow import; reports the source of a credential and never shows it.
The other backends have a method `check()` of their own.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet.cli.doctor_accounts import AccessDenied, account_name
from tracelet.redaction.masking import mask_url

TIMEOUT = 5.0
"""Seconds for a server to respond."""


@dataclass(frozen=True)
class Account:
    """Where one system's client looks, in its own order."""

    addresses: tuple[str, ...]
    """Variables with the server's address."""
    default: str
    """The address without any of them; empty if that is a folder on this machine."""
    variables: tuple[str, ...]
    """Variables with a credential."""
    files: tuple[str, ...]
    """Files in which the client stores one."""
    markers: tuple[str, ...] = ()
    """The text in such a file that marks a credential for this system."""
    login: str = ""
    """The command that creates one; empty if a server may need none."""


ACCOUNTS: dict[str, Account] = {
    "wandb": Account(
        ("WANDB_BASE_URL",), "https://api.wandb.ai", ("WANDB_API_KEY",), ("~/.netrc", "~/_netrc_password"), ("wandb",),
        "wandb login, or set WANDB_API_KEY",
    ),
    "clearml": Account(
        ("CLEARML_API_HOST", "TRAINS_API_HOST"), "https://api.clear.ml", ("CLEARML_API_SECRET_KEY",),
        ("~/clearml.conf",), ("secret_key",), "clearml-init, or set CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY",
    ),
}  # fmt: skip
"""The systems checked here; the others have a method `check()`."""


def check_server(name: str, options: Mapping[str, Any]) -> tuple[bool | None, str, str]:
    """(whether the server responds, or None without a server; the result; how to fix it)."""
    account = ACCOUNTS.get(name)
    if account is None or options.get("mode") == "offline":
        return None, "writes local files", ""
    address, where = _address(account, options)
    if not address.startswith(("http://", "https://")):
        return None, f"writes to {mask_url(address) or 'local files'}{where}", ""
    credential = _credential(account, options)
    reason = _unreachable(address)
    found = f"{mask_url(address)}{where}, {credential or 'no credential'}"
    if reason:
        return False, f"{found}: {reason}", "Check that the server is running and that the address is correct"
    if not credential and account.login:
        return False, found, f"Type {account.login}"
    try:
        who = account_name(name, address, options)
    except AccessDenied:
        return False, f"{found}: the server rejects it", f"Type {account.login}"
    return True, f"{found}, as {who}" if who else found, ""


def _address(account: Account, options: Mapping[str, Any]) -> tuple[str, str]:
    if options.get("url"):
        return str(options["url"]), " (given as an option)"
    for variable in account.addresses:
        if os.environ.get(variable):
            return os.environ[variable], f" (from {variable})"
    return account.default, ""


def _credential(account: Account, options: Mapping[str, Any]) -> str:
    """The source of the credential; empty without one."""
    if options.get("api_key"):
        return "with the api_key passed to tracelet"
    for variable in account.variables:
        if os.environ.get(variable):
            return f"with the credential in {variable}"
    for file in account.files:
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if not account.markers or any(mark in text for mark in account.markers):
            return f"with the credential in {file}"
    return ""


def _unreachable(address: str) -> str:
    """Why the server does not respond; empty if it does, with any answer."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT):  # noqa: S310 - an http address, see `check_server`
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return "" if error.code < 500 or error.code == 501 else f"HTTP status {error.code} ({error.reason})"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
