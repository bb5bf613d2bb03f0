"""Connects to S3 with the settings that every S3 client knows.

The keys come from where botocore finds them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (with
`AWS_SESSION_TOKEN` for temporary keys), a profile, a web identity, the container or the instance.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

import botocore.exceptions
import botocore.loaders
import botocore.session
from botocore.config import Config

from qc_core.errors import UsageError
from qc_core.store.s3_errors import missing_keys

DEFAULT_REGION = "us-east-1"
_CONNECT_SECONDS = 5.0


def split_location(location: str) -> tuple[str, str]:
    """Return bucket and prefix of s3://bucket/prefix (UsageError: another form)."""
    parts = _split(location, "QC_STORE", "s3://bucket/prefix")
    if not parts.netloc:
        raise UsageError("QC_STORE needs a bucket: s3://bucket/prefix")
    if {":", "@"} & set(parts.netloc):
        raise _holds_keys("QC_STORE")
    return parts.netloc, parts.path.strip("/")


def connect(timeout: float) -> Any:
    """Return a botocore client for the server `QC_S3_ENDPOINT`, default AWS; sends no request.

    Args:
        timeout: seconds that the server may be silent.

    Raises:
        UsageError: a setting is invalid.
    """
    address = endpoint()
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    try:
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
        return session.create_client(
            "s3",
            region_name=region or DEFAULT_REGION,
            endpoint_url=address,
            verify=session.get_config_variable("ca_bundle") or _system_certificates(),
            config=Config(
                connect_timeout=min(_CONNECT_SECONDS, timeout),
                read_timeout=timeout,
                # `Deadline` repeats requests.
                retries={"total_max_attempts": 1, "mode": "standard"},
                # Other S3 servers do not know the checksums that AWS has introduced since 2024.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except botocore.exceptions.PartialCredentialsError as error:
        raise missing_keys(error) from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise UsageError(
            f"the settings of the store are invalid ({' '.join(str(error).split())}): check "
            "QC_S3_ENDPOINT and the variables AWS_*"
        ) from error


@cache
def _loader() -> botocore.loaders.Loader:
    """Return the loader of the service description, which takes a tenth of a second to parse."""
    return botocore.loaders.create_loader()


def endpoint() -> str | None:
    """Return the address of the server, `QC_S3_ENDPOINT`; None is AWS (UsageError: invalid)."""
    endpoint = os.environ.get("QC_S3_ENDPOINT")
    if not endpoint:
        return None
    target = _split(endpoint, "QC_S3_ENDPOINT", "http://host:port or https://…")
    if "@" in endpoint:
        raise _holds_keys("QC_S3_ENDPOINT")
    if target.scheme not in ("http", "https") or not target.netloc or target.path.strip("/"):
        raise UsageError(f"QC_S3_ENDPOINT must be http://host:port or https://…, got {endpoint}")
    try:
        _ = target.port
    except ValueError as error:
        raise UsageError(f"QC_S3_ENDPOINT is invalid: {error}, got {endpoint}") from error
    return endpoint


def _system_certificates() -> str | None:
    """Return the machine's file of trusted authorities, None without one: botocore has its own."""
    return ssl.get_default_verify_paths().cafile


def _split(url: str, variable: str, form: str) -> SplitResult:
    """Split an address into its parts (UsageError: not an address)."""
    try:
        return urlsplit(url)
    except ValueError:
        # The cause quotes the address, which may contain keys.
        raise UsageError(f"{variable} must be {form}: its value is not an address") from None


def _holds_keys(variable: str) -> UsageError:
    """Return the error for an address that contains keys; the message does not show them."""
    return UsageError(
        f"{variable} must be an address without keys: they belong in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY"
    )
