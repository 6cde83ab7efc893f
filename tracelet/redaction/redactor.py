"""Removes the credentials of backends from every text that may be stored. Used by couriers and the agent's log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tracelet.redaction.known_secrets import find_secrets
from tracelet.redaction.masking import MASK, mask_text

MIN_LENGTH = 6
"""Shorter "secrets" are ordinary words used as passwords; redacting them would black out half a log."""


class Redactor:
    """Knows the secrets among the options of some backends and in the environment."""

    def __init__(self, *options: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
        found = {secret for table in options for secret in find_secrets(table)}
        found |= set(find_secrets(os.environ if environ is None else environ))
        found = {secret for secret in found if not os.path.isabs(secret)}  # PWD is no password, SSH_AUTH_SOCK no key
        self._secrets = sorted((secret for secret in found if len(secret) >= MIN_LENGTH), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without known secrets and without strings that look like one."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return mask_text(text)
