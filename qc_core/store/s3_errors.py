"""Errors of an S3 server and of the way to it: which may pass, and what a person can do."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as boto

from qc_core.errors import UsageError
from qc_core.store.deadline import Unanswered
from qc_core.store.objects import NoSuchObject

# S3 refuses requests of a clock that differs by 15 minutes.
_MAX_SKEW_SECONDS = 600
_MAX_RETRY_AFTER_SECONDS = 30.0
# Codes with a status below 500 that say: try again.
_PASSING = {
    "BadDigest",
    "IncompleteBody",
    "InvalidDigest",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_PASSING_STATUS = (408, 425, 429)
_WRONG_REGION = (
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
_UNKNOWN_KEY = ("InvalidAccessKeyId", "InvalidToken", "InvalidClientTokenId", "UnrecognizedClient")
_NOT_THERE = ("NoSuchKey", "NoSuchUpload")
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict")
# Temporary keys of AWS start with these letters.
_TEMPORARY = "ASIA"


class NoSuchBucket(UsageError):
    """The bucket does not exist."""


class Changed(Exception):
    """The object no longer satisfies the condition of the request."""


class NotImplementedByServer(Exception):
    """The server does not know this kind of request."""


def translate(error: Exception, store: str, bucket: str, key: str) -> Exception:
    """Return what an exception of botocore means.

    Args:
        store: the store's address, for messages.
        key: the object that was asked for.

    Returns:
        NoSuchObject, Changed or NotImplementedByServer; UsageError if only a person can change it;
        Unanswered if the same request may succeed later.
    """
    if isinstance(error, boto.ClientError):
        return _refusal(error, store, bucket, key)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return missing_keys(error)
    if isinstance(error, (boto.ParamValidationError, boto.ProfileNotFound, boto.UnknownKeyError)):
        return UsageError(f"{store} cannot be used: {_line(error)}; check QC_STORE and AWS_*")
    if isinstance(error, boto.SSLError):
        return _tls_error(error, store)
    if isinstance(error, boto.ProxyConnectionError):
        return Unanswered("the proxy in HTTPS_PROXY or HTTP_PROXY cannot be reached")
    if isinstance(error, boto.ReadTimeoutError):
        return Unanswered("no answer")
    if isinstance(error, boto.ConnectTimeoutError):
        return Unanswered("no connection")
    if isinstance(error, (boto.CredentialRetrievalError, boto.MetadataRetrievalError)):
        return Unanswered(f"no keys from the identity of this machine: {_line(error)}")
    if isinstance(error, (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError)):
        return Unanswered(_connection_reason(error))
    # The parser of a response that is not from S3 raises exceptions of many kinds.
    return Unanswered(f"its response is not from S3 ({type(error).__name__})")


def missing_keys(error: Exception) -> UsageError:
    """Return the error for a store whose keys are not set, or only one of them."""
    return UsageError(
        f"the store needs keys ({_line(error)}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def not_from_s3(status: int) -> Unanswered:
    """Return the error for a response that S3 would not send."""
    return Unanswered(f"its response is not from S3 (status {status})")


def _refusal(error: boto.ClientError, store: str, bucket: str, key: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata: Any = error.response.get("ResponseMetadata", {})
    status, headers = int(metadata.get("HTTPStatusCode", 0)), metadata.get("HTTPHeaders", {})
    if code in _CHANGED or status == 412:
        return Changed(key)
    if status == 501:
        return NotImplementedByServer(code)
    if status >= 500 or status in _PASSING_STATUS or code in _PASSING:
        return Unanswered(f"status {status} {_code(code)}".strip(), _retry_after(headers))
    if skew := _skew(code, status, headers):
        return UsageError(f"{store} refuses the time of this machine: its clock is {skew}; set it")
    region = _region(error, headers)
    if code in _WRONG_REGION or (region and status in (301, 307)):
        return UsageError(
            f"the bucket {bucket} is in {f'region {region}' if region else 'another region'}: set "
            f"AWS_REGION{f'={region}' if region else ''}, or check QC_S3_ENDPOINT"
        )
    # The response to a HEAD has no body, so no code.
    if status == 404 and error.operation_name == "HeadObject":
        return NoSuchObject(key)
    if not _code(code):
        return not_from_s3(status)
    if code in _NOT_THERE:
        return NoSuchObject(key)
    if code == "NoSuchBucket":
        return NoSuchBucket(f"{store} has no bucket {bucket}: create it first")
    return UsageError(f"{store} refuses ({code}): {_remedy(code)}")


def _region(error: boto.ClientError, headers: Any) -> str:
    """Return the region that the server names, '' without one."""
    region = error.response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return region if re.fullmatch(r"[a-z0-9-]{1,50}", str(region)) else ""


def _remedy(code: str) -> str:
    temporary = (os.environ.get("AWS_ACCESS_KEY_ID") or "").startswith(_TEMPORARY)
    if code in _EXPIRED:
        return "the keys have expired, get new ones (AWS_SESSION_TOKEN belongs to them)"
    if code in _UNKNOWN_KEY:
        if temporary and not os.environ.get("AWS_SESSION_TOKEN"):
            return "temporary keys need AWS_SESSION_TOKEN, which is not set"
        return "check AWS_ACCESS_KEY_ID, and for temporary keys AWS_SESSION_TOKEN"
    if code == "SignatureDoesNotMatch":
        return "check AWS_SECRET_ACCESS_KEY, it does not belong to AWS_ACCESS_KEY_ID"
    return (
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what the bucket's policy allows below "
        "the prefix of QC_STORE"
    )


def _skew(code: str, status: int, headers: Any) -> str:
    """Return by how much this machine's clock differs from the server's, '' if it is fine."""
    seconds = 0.0
    with suppress(ValueError, TypeError):
        theirs = parsedate_to_datetime(headers.get("date", ""))
        seconds = (datetime.now(timezone.utc) - theirs.astimezone(timezone.utc)).total_seconds()
    if code != "RequestTimeTooSkewed" and (status != 403 or abs(seconds) < _MAX_SKEW_SECONDS):
        return ""
    if abs(seconds) < 1:
        return "wrong"
    return f"{abs(seconds) / 60:,.0f} minutes {'fast' if seconds > 0 else 'slow'}"


def _tls_error(error: boto.SSLError, store: str) -> Exception:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return UsageError(
            f"the certificate of {store} is not trusted: set AWS_CA_BUNDLE to a PEM file with its "
            "authority"
        )
    if "WRONG_VERSION_NUMBER" in text or "UNKNOWN_PROTOCOL" in text:
        return UsageError(f"{store} does not speak TLS: use http:// in QC_S3_ENDPOINT")
    return Unanswered("the encrypted connection was interrupted")


def _connection_reason(error: boto.BotoCoreError) -> str:
    """Return why a connection failed; botocore's text may contain addresses with signatures."""
    # The text of an EndpointConnectionError has only the URL; its cause is an argument.
    cause = str(error.kwargs.get("error", error))
    for part, reason in (
        ("Connection refused", "connection refused"),
        ("resolve", "its name cannot be resolved"),
        ("Name or service not known", "its name cannot be resolved"),
        ("reset by peer", "connection reset"),
        ("IncompleteRead", "interrupted response"),
        ("No route to host", "no route to host"),
        ("unreachable", "network unreachable"),
    ):
        if part in cause:
            return reason
    if isinstance(error, boto.EndpointConnectionError):
        return "no connection"
    return "connection closed"


def _retry_after(headers: Any) -> float:
    with suppress(ValueError):
        return min(max(float(headers.get("retry-after", 0)), 0.0), _MAX_RETRY_AFTER_SECONDS)
    return 0.0


def _code(code: str) -> str:
    """Return an error code if it looks like one; a garbled response may contain anything."""
    return code if code.isascii() and code.isalpha() and len(code) < 50 else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
