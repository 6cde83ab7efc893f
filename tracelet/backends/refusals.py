"""Whether an error of a client library is a permanent refusal or temporary, decided from known codes.

Used by concrete backends, on the courier's thread. Knows the system's error numbers, HTTP statuses, and the errors of
object stores by name, so that no SDK is imported. An unknown error is reported as unknown, never as an outage.
"""

from __future__ import annotations

import errno
import re
import sys
from enum import Enum

from tracelet.errors import Rejected, Unavailable, Unexplained

DENIED = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EFBIG,
})  # fmt: skip
"""The path or the name cannot be used, now or later."""
PASSING = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED,
    errno.EPIPE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EAGAIN, errno.EBUSY, errno.ESTALE,
    errno.EMFILE, errno.ENFILE,
})  # fmt: skip
PASSING_STATUSES = frozenset({408, 423, 425, 429, 502, 503, 504, 507, 509, 522, 524})
UNKNOWN_STATUSES = frozenset({500, 520})
REFUSED_NAMES = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "SSOTokenLoadError", "ProfileNotFound", "ParamValidationError", "NoRegionError",
    "InvalidEndpointConfigurationError",
    "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError", "ResourceNotFoundError",
    "ImportError", "ModuleNotFoundError", "InvalidURL", "MissingSchema", "InvalidSchema", "UnicodeEncodeError",
})  # fmt: skip
"""Classes of botocore, google.auth, azure.core and requests for errors that every retry repeats."""
PASSING_NAMES = frozenset({
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "TransportError",
    "ConnectionError", "Timeout", "ConnectTimeout", "ReadTimeout", "ChunkedEncodingError", "SSLError",
    "ServiceRequestError", "ServiceResponseError", "TimeoutError", "OperationalError",
})  # fmt: skip
REFUSED_CODES = frozenset({
    "AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidBucketName",
    "AuthorizationHeaderMalformed", "PermanentRedirect", "AllAccessDisabled", "AccountProblem", "ExpiredToken",
    "InvalidToken", "KeyTooLongError", "EntityTooLarge", "Forbidden", "403", "404", "MethodNotAllowed",
})  # fmt: skip
"""Error codes of S3 and compatible systems."""
S3_CODE = re.compile(r"An error occurred \((\w+)\)")
STATUS = re.compile(r"\b([45]\d\d) (?:Client|Server) Error\b")
CLIENTS = {
    "botocore.exceptions": "BotoCoreError", "boto3.exceptions": "Boto3Error",
    "google.auth.exceptions": "GoogleAuthError",
    "google.api_core.exceptions": "GoogleAPIError", "azure.core.exceptions": "AzureError",
}  # fmt: skip
"""Modules with the base classes of object stores' errors; botocore's `ClientError` has a base class of its own."""
LONGEST = 300


class Verdict(Enum):
    """The expected result of a retry."""

    REFUSED = "refused"
    PASSING = "passing"
    UNKNOWN = "unknown"


def verdict(error: BaseException) -> Verdict:
    """The verdict on the error, or on its cause."""
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            break
        if (found := _own_verdict(seen)) is not Verdict.UNKNOWN:
            return found
        seen = seen.__cause__ or seen.__context__
    return Verdict.UNKNOWN


def of_status(status: int) -> Verdict:
    """The verdict on an HTTP status."""
    if status in PASSING_STATUSES:
        return Verdict.PASSING
    if status in UNKNOWN_STATUSES:
        return Verdict.UNKNOWN
    return Verdict.REFUSED if status >= 300 else Verdict.UNKNOWN


def _own_verdict(error: BaseException) -> Verdict:
    names = {kind.__name__ for kind in type(error).__mro__}
    code = S3_CODE.search(str(error))
    if names & REFUSED_NAMES or (code and code[1] in REFUSED_CODES):
        return Verdict.REFUSED
    if (status := status_of(error)) is not None:
        return of_status(status)
    number = getattr(error, "errno", None)
    if number in DENIED:
        return Verdict.REFUSED
    return Verdict.PASSING if number in PASSING or names & PASSING_NAMES else Verdict.UNKNOWN


def client_errors() -> tuple[type[Exception], ...]:
    """Exceptions that an uploading library may raise: those of the system, of Python, and of the loaded clients."""
    found: list[type[Exception]] = [OSError, ImportError, ValueError, RuntimeError]
    for module, name in CLIENTS.items():
        loaded = sys.modules.get(module)
        found += [kind for kind in (getattr(loaded, name, None), getattr(loaded, "ClientError", None)) if kind]
    return tuple(found)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the response that the error reports, if any."""
    holders = (getattr(error, "response", None), error)
    for value in (getattr(holder, name, None) for holder in holders for name in ("status_code", "code", "status")):
        if isinstance(value, int) and not isinstance(value, bool) and 300 <= value < 600:
            return value
    told = STATUS.search(str(error))
    return int(told[1]) if told else None


def first_line(error: BaseException) -> str:
    """The error's message, shortened; its class if it has none."""
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def translated(error: Exception, records: list[object], what: str) -> Exception:
    """The error in the courier's terms: `Rejected` with these records, `Unavailable` or `Unexplained`."""
    why = f"{what} ({first_line(error)})"
    found = verdict(error)
    if found is Verdict.REFUSED:
        return Rejected(records, why)
    return Unavailable(why) if found is Verdict.PASSING else Unexplained(why)
