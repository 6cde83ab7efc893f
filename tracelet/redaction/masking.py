"""Masks secrets in recorded arguments, URLs and text. Pure functions; imports nothing of tracelet.

Called by the collectors (command line, git remotes, diff) and by integrations (parameter names), on any thread. Masks
when in doubt if a name or a shape suggests a secret, but leaves the vocabulary of machine learning alone: `max_tokens`,
`pad_token`, `key_dim` and `token_dropout` are hyperparameters. It never raises, and never looks up a value anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from tracelet.redaction.token_shapes import mask_shapes

MASK = "***"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SECRET_PARTS = (
    "password", "passwd", "passphrase", "passcode", "secret", "credential", "apikey", "accesskey", "privatekey",
    "authtoken", "accesstoken", "apitoken", "bearer", "authorization", "webhook", "connectionstring",
)  # fmt: skip
"""A name that contains one of these, ignoring punctuation and case, is secret."""

SECRET_LAST_WORDS = frozenset({"pwd", "passwd", "auth", "jwt", "cookie", "sas"})
KEY_OWNERS = _words(
    "account admin api app auth aws azure clearml client comet consumer deploy encryption gcp hf host license login "
    "master mlflow neptune openai anthropic root s3 service shared signing ssh storage subscription user wandb"
)
"""`wandb_key` is a secret, `sort_key` is not: a key is secret only after one of these words."""

PASS_OWNERS = _words("admin db ftp http key mongo mysql pg postgres proxy redis root smtp ssh user")
TEXT_TOKENS = _words(
    "begin bos boa boi byte cls class control dist dummy empty end eoi eos eot extra first global image img input last "
    "latent learnable mask max min n new next null num output pad per positional prefix prompt query reg register sep "
    "separator shared soft sos special start stop summary target task time trigger unk unknown video visual"
)
"""`eos_token` is text for a model, `hf_token` is a credential: after one of these words a token is not secret."""

TOKEN_OWNERS = _words("access api auth bearer bot csrf github gitlab hf hub id login oauth refresh session")
"""`auth_tokens` is secret; other plurals (`max_tokens`, `new_tokens`) count text."""

HARMLESS_LAST_WORDS = _words(
    "dir file filename folder path "
    "count dim dims dimension embed embedding head heads layer layers len length loss num rate ratio size weight "
    "enabled error errors exception expiry provider required timeout ttl type warning"
)
"""`password_file` names the secret's location, `secret_dim` a size, `NoCredentialsError` a class: none is a secret."""

HARMLESS_VALUES = frozenset({"", "none", "null", "true", "false", MASK})
"""Values that cannot be a secret; that no key was given is worth recording."""

_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----).*?(?:(-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----)|\Z)",
    re.DOTALL,
)
_SCHEMED = re.compile(r"\b(bearer|basic)(\s+)(?=[\w+/.~-]*[\d=+/])[\w+/.~-]{12,}=*", re.IGNORECASE)
"""`Bearer abc123...` as in an HTTP header; a word of twelve letters without a digit is English."""

_USER_IN_URL = re.compile(
    r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)"
    r"((?:[^\s/?#@\"'<>]{0,1000}@)+|[^\s/?#@:\"'<>\[\]]{0,1000}:(?!\d*(?:[/?#\s\"'<>,;)\]]|$))[^\s@\"'<>]{0,1000}@)"
)
"""The part before the host. The second form is a password that contains `/`, `?` or `#` unquoted."""

_NAME = re.compile(
    r"(?<![A-Za-z0-9_])([A-Za-z_][\w.\-]{0,200})[\"'\]]{0,2}\s{0,4}"
    r"(?::\s{0,4}(?:[A-Za-z.]{1,40}\[)?(?:str|bytes|Any|SecretStr|string)\]?(?:\s?\|\s?None)?\s{0,4}=|[=:]=?)\s{0,4}"
)
"""A name and its assignment, including a type annotation between them (`key: str = `)."""

_VALUE = re.compile(
    r"[BbFfRrUu]{0,2}(?:"
    r"\"\"\"(.*?)(?=\"\"\")|'''(.*?)(?=''')|\"\"\"([^\n]+)|'''([^\n]+)"
    r"|\"((?:[^\"\\\n]|\\.)+)|'((?:[^'\\\n]|\\.)+)"
    r"|\"([ \t]*\n(?:[^\"\\]|\\.)*)(?=\")|'([ \t]*\n(?:[^'\\]|\\.)*)(?=')"
    r")|([^\s,;&)}\]\"']+)",
    re.DOTALL,
)
"""The assigned value. An unclosed quote ends with its line, unless nothing follows it on that line."""

_FLAG_IN_TEXT = re.compile(r"(?<!\S)--([A-Za-z][\w.\-]{0,200})[ \t]+(?!-)(\S+)")
"""`--token X` in a command line that is one string."""
_ASSIGNMENT = re.compile(r"(?P<head>[-+~]*(?P<name>[A-Za-z_][\w.\-/\[\]'\"]*)=)(?P<value>.*)", re.DOTALL)
_FLAG = re.compile(r"--?[A-Za-z][\w.\-]*(?:=.*)?", re.DOTALL)
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_+/=-]{20,}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a parameter, flag or variable with this name holds a secret, as `hf_token` and `WANDB_API_KEY` do."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in HARMLESS_LAST_WORDS:
        return False
    squashed = "".join(words)
    if any(part in squashed for part in SECRET_PARTS):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last.startswith("token"):
        return before not in TEXT_TOKENS if last == "token" else last == "tokens" and before in TOKEN_OWNERS
    if last in ("key", "keys"):
        return before in KEY_OWNERS
    if words[-3:] == ["access", "key", "id"]:
        return True
    return last in SECRET_LAST_WORDS or (last in ("pass", "pw") and (not before or before in PASS_OWNERS))


def mask_url(url: str) -> str:
    """A URL without its user, password and secret query values; `ssh://git@host` keeps its user."""
    return mask_text(url)


def mask_tokens(text: str) -> str:
    """Text without well-known token shapes, private keys and credentials in URLs; leaves assignments alone."""
    text = _PRIVATE_KEY.sub(rf"\1{MASK}\2", text)
    text = _USER_IN_URL.sub(_mask_user, text)
    text = _SCHEMED.sub(rf"\1\2{MASK}", text)
    return mask_shapes(text)


def mask_text(text: str) -> str:
    """As `mask_tokens`, and also masks values assigned to a secret name (`password=...`, `"api_key": "..."`)."""
    text = _FLAG_IN_TEXT.sub(_mask_flag, mask_tokens(text))
    parts: list[str] = []
    done = 0
    for name in _NAME.finditer(text):
        value = _VALUE.match(text, name.end()) if name.start() >= done and looks_secret(name[1]) else None
        if value is not None and value[value.lastindex or 0].lower() not in HARMLESS_VALUES:
            parts += (text[done : value.start(value.lastindex or 0)], MASK)
            done = value.end()
    return "".join((*parts, text[done:]))


def mask_arguments(argv: Sequence[str]) -> list[str]:
    """A command line, argument by argument, with its secrets masked."""
    masked: list[str] = []
    flag = ""
    for argument in argv:
        if flag and not _is_flag(argument):
            masked.append(_mask_value(flag, argument))
            if not flag.endswith("s"):  # --api-keys a b c: all of them
                flag = ""
            continue
        flag = argument if _is_flag(argument) and "=" not in argument else ""
        if argument == "login":
            flag = "--key"  # wandb login KEY
        masked.append(_mask_argument(argument))
    return masked


def _is_flag(argument: str) -> bool:
    # A long word after a single dash is more likely a random token than an option.
    return bool(_FLAG.fullmatch(argument)) and (argument.startswith("--") or len(argument) <= 24 or "=" in argument)


def _mask_argument(argument: str) -> str:
    assignment = _ASSIGNMENT.fullmatch(argument)
    if assignment is None:
        return mask_text(argument)
    return mask_tokens(assignment["head"]) + _mask_value(assignment["name"], assignment["value"])


def _mask_value(name: str, value: str) -> str:
    if value.lower() in HARMLESS_VALUES:
        return value
    key_like = name.lower().endswith(("key", "login", "wandb"))
    if looks_secret(name) or (key_like and _RANDOM.fullmatch(value)):
        return MASK
    return mask_text(value)


def _mask_flag(match: re.Match[str]) -> str:
    if not looks_secret(match[1]) or match[2].lower() in HARMLESS_VALUES:
        return match[0]
    return match[0][: match.start(2) - match.start()] + MASK


def _mask_user(match: re.Match[str]) -> str:
    scheme, user = match[1], match[2]
    if "ssh" in scheme.lower() and ":" not in user:
        return match[0]
    return f"{scheme}{MASK}@"
