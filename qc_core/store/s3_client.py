"""Connects to S3 with the settings that every S3 client knows.

The keys come from where botocore finds them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (with
`AWS_SESSION_TOKEN` for temporary keys), a profile, a web identity, the container or the instance.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import botocore.exceptions
import botocore.loaders
import botocore.session
from botocore.config import Config

from qc_core.errors import UsageError
from qc_core.store.s3_errors import missing_keys

DEFAULT_REGION = "us-east-1"
_CONNECT_SECONDS = 5.0


class Account(NamedTuple):
    """Names of the variables with the address of a server and its keys.

    What a variable does not have is as for the store; botocore finds the store's keys.
    """

    endpoint: str
    region: str
    access_key: str = ""
    secret_key: str = ""


STORE = Account("QC_S3_ENDPOINT", "AWS_REGION")
# Of the sources `s3://bucket/path`.
DATA = Account(
    "QC_DATA_S3_ENDPOINT", "QC_DATA_REGION", "QC_DATA_ACCESS_KEY_ID", "QC_DATA_SECRET_ACCESS_KEY"
)


def split_location(location: str) -> tuple[str, str]:
    """Return bucket and prefix of s3://bucket/prefix (UsageError: another form)."""
    parts = _split(location, "QC_STORE", "s3://bucket/prefix")
    if not parts.netloc:
        raise UsageError("QC_STORE needs a bucket: s3://bucket/prefix")
    if {":", "@"} & set(parts.netloc):
        raise _holds_keys("QC_STORE")
    return parts.netloc, parts.path.strip("/")


def connect(timeout: float, account: Account = STORE) -> Any:
    """Return a botocore client for the server of an account, default AWS; sends no request.

    Args:
        timeout: seconds that the server may be silent.

    Raises:
        UsageError: a setting is invalid.
    """
    address = endpoint(account.endpoint) or endpoint()
    access_key, secret_key = _keys(account)
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    try:
        region = os.environ.get(account.region) or os.environ.get(STORE.region)
        region = region or session.get_config_variable("region")
        return session.create_client(
            "s3",
            region_name=region or DEFAULT_REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
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


def endpoint(variable: str = STORE.endpoint) -> str | None:
    """Return the address of the server in a variable; None is AWS (UsageError: invalid)."""
    endpoint = os.environ.get(variable)
    if not endpoint:
        return None
    target = _split(endpoint, variable, "http://host:port or https://…")
    if "@" in endpoint:
        raise _holds_keys(variable)
    if target.scheme not in ("http", "https") or not target.netloc or target.path.strip("/"):
        raise UsageError(f"{variable} must be http://host:port or https://…, got {endpoint}")
    try:
        _ = target.port
    except ValueError as error:
        raise UsageError(f"{variable} is invalid: {error}, got {endpoint}") from error
    return endpoint


def _keys(account: Account) -> tuple[str | None, str | None]:
    """Return the keys of an account, None where botocore finds them (UsageError: one of two)."""
    found = [os.environ.get(name) or None for name in (account.access_key, account.secret_key)]
    if found.count(None) == 1:
        raise UsageError(f"set both {account.access_key} and {account.secret_key}, or none of them")
    return found[0], found[1]


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
