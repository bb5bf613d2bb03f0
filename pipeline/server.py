"""Talk to a KFP server; whatever goes wrong between here and there is one line.

The requests are those of KFP's own generated client. `kfp.Client` stands on the same client, but
prints while it works, waits for ever, and cannot name a pipeline without one of its versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import kfp_server_api
import urllib3

from pipeline.address import Address, find_address
from qc_core.errors import RunError, UsageError

# Seconds to connect, and to wait for the next byte of an answer.
TIMEOUT = (10.0, 60.0)
_PAGE = 100
_LONGEST_MESSAGE = 300


class Unreachable(RunError):
    """No answer, or none from KFP itself; the same request may succeed later."""


class NotFound(UsageError):
    """KFP does not know what was asked for."""


class Clash(RunError):
    """KFP has something of that name already."""


@dataclass(frozen=True, slots=True)
class Server:
    """A KFP server that answers.

    Attributes:
        ui: base of its pages' addresses; None where they have none from outside.
        namespace: whose runs these are on a multi-user server; None on a single-user one.
    """

    client: kfp_server_api.ApiClient
    ui: str | None
    namespace: str | None

    @property
    def experiments(self) -> Any:
        return kfp_server_api.ExperimentServiceApi(self.client)

    @property
    def pipelines(self) -> Any:
        return kfp_server_api.PipelineServiceApi(self.client)

    @property
    def uploads(self) -> Any:
        return kfp_server_api.PipelineUploadServiceApi(self.client)

    @property
    def runs(self) -> Any:
        return kfp_server_api.RunServiceApi(self.client)

    @property
    def recurring_runs(self) -> Any:
        return kfp_server_api.RecurringRunServiceApi(self.client)

    def page(self, path: str) -> str:
        """Where a person looks at it; `/#/…` where this machine does not know the UI's address."""
        return f"{self.ui or ''}/#/{path}"


@contextmanager
def connect(endpoint: str | None = None, namespace: str | None = None) -> Iterator[Server]:
    """Give a server that has answered once.

    Args:
        endpoint: address of KFP; None looks for one as `pipeline.address` says.
        namespace: the user's own, on a multi-user server.

    Raises:
        UsageError: no server is named, or it refuses, or it is not KFP.
        Unreachable: it does not answer.
    """
    with find_address(endpoint) as address:
        client = _Client(address)
        try:
            service: Any = kfp_server_api.HealthzServiceApi(client)
            health = service.healthz_service_get_healthz()
        except NotFound as error:
            raise UsageError(
                f"there is no KFP API below {address.api}: KFP_ENDPOINT is http(s)://host[:port], "
                "with the path below which KFP is, if any"
            ) from error
        yield Server(client, address.ui, _namespace(bool(health.multi_user), namespace, address))


def each(list_page: Callable[..., Any], field: str, **options: Any) -> Iterator[Any]:
    """Every entry of a paged list.

    Args:
        list_page: a `…_list_…` method of the generated client.
        field: where its answers hold the entries.
    """
    token = ""
    while True:
        answer = list_page(page_size=_PAGE, page_token=token, **options)
        yield from getattr(answer, field) or ()
        token = answer.next_page_token
        if not token:
            return


def named(name: str) -> str:
    """The filter for entries of this display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def _namespace(multi_user: bool, namespace: str | None, address: Address) -> str | None:
    if not multi_user:
        if namespace is not None:
            raise UsageError(
                f"{address.api} serves a single user and takes no --namespace, got {namespace}"
            )
        return None
    found = namespace or address.own_namespace
    if found is None:
        raise UsageError(
            f"{address.api} serves many users: say whose runs these are, --namespace NS"
        )
    return found


class _Client(kfp_server_api.ApiClient):
    """The generated client, with a time limit for every request and errors for people."""

    def __init__(self, address: Address) -> None:
        configuration: Any = kfp_server_api.Configuration(host=address.api)
        # Also no redirect is followed: it would lead to a login page.
        configuration.retries = False
        configuration.ssl_ca_cert = address.ca_file
        if address.read_token is not None:
            read_token = address.read_token

            def refresh(configuration: Any) -> None:
                configuration.api_key["authorization"] = read_token()

            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = refresh
            refresh(configuration)
        super().__init__(configuration)
        self._address = address

    def request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Any = None,
        post_params: Any = None,
        body: Any = None,
        _preload_content: bool = True,
        _request_timeout: Any = None,
    ) -> Any:
        """What every request of the generated client goes through."""
        where = self._address.api
        try:
            answer = super().request(
                method, url, query_params, headers, post_params, body, _preload_content, TIMEOUT
            )
        except kfp_server_api.ApiException as error:
            raise self._refusal(error) from error
        except urllib3.exceptions.NewConnectionError as error:
            raise Unreachable(f"the KFP server at {where} cannot be reached: {_why(error)}") from (
                error
            )
        except urllib3.exceptions.TimeoutError as error:
            connect_limit, read_limit = TIMEOUT
            raise Unreachable(
                f"the KFP server at {where} did not answer within {connect_limit:g} s to connect "
                f"and {read_limit:g} s to reply: is the address right, is it overloaded?"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(
                f"the connection to the KFP server at {where} was lost: {_why(error)}"
            ) from error
        try:
            json.loads(answer.data)
        except ValueError as error:
            raise self._not_kfp("with a page that is not KFP's (a login page?)") from error
        return answer

    def _refusal(self, error: Any) -> Exception:
        where, status = self._address.api, error.status
        if not status:
            return UsageError(
                f"no TLS with {where}: {_one_line(error.reason)}; where its certificate is of your "
                "own, KFP_CA_FILE names the authority's file"
            )
        said = self._said(error.body)
        if status in (401, 403):
            who = "refuses the token" if self._address.read_token else "asks for a token"
            return UsageError(
                f"the KFP server at {where} {who} ({status}{said}): KFP_TOKEN takes a valid one"
            )
        if 300 <= status < 400:
            return self._not_kfp(f"with a redirect ({status}, to a login page?)")
        if status == 400:
            return UsageError(f"the KFP server at {where} refuses the request{said}")
        if status == 404:
            return NotFound(f"the KFP server at {where} has no such thing{said}")
        if status == 409:
            return Clash(f"the KFP server at {where} has that already{said}")
        if status in (502, 503, 504):
            return Unreachable(f"the KFP server behind {where} is not there ({status}{said})")
        return RunError(f"the KFP server at {where} failed ({status}{said})")

    def _not_kfp(self, how: str) -> UsageError:
        return UsageError(
            f"{self._address.api} answers {how}: KFP_TOKEN takes a token that its proxy accepts, "
            "or name the KFP server behind it"
        )

    def _said(self, body: bytes | str | None) -> str:
        """KFP's own words, `: …`; '' where the answer is not KFP's."""
        try:
            content = json.loads(body or "")
        except ValueError:
            return ""
        if not isinstance(content, dict):
            return ""
        # The gateway's errors, and those of the upload handler.
        said = content.get("message") or content.get("error_message") or content.get("error")
        text = _one_line(str(said or ""))
        if self._address.read_token is not None:
            text = text.replace(self._address.read_token(), "***")
        return f": {text[:_LONGEST_MESSAGE]}" if text else ""


def _why(error: Exception) -> str:
    """The innermost reason, without the address of an object."""
    inner = error.__cause__ or next((a for a in error.args if isinstance(a, Exception)), error)
    return _one_line(str(getattr(inner, "strerror", None) or inner))


def _one_line(text: str) -> str:
    return " ".join(text.split())
