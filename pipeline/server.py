"""Client of a KFP server. Every error is one line with a remedy.

It uses KFP's generated client, `kfp_server_api`. `kfp.Client` builds on the same client, but it
prints, has no timeouts, and cannot refer to a pipeline without a version.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import kfp_server_api
import urllib3

from pipeline.address import Address, find_address
from qc_core.errors import RunError, UsageError

# Seconds to connect, and to wait for the next byte of an answer. CreateRun waits for MLflow, for up
# to a minute if that does not answer.
TIMEOUT = (10.0, 120.0)
# Seconds to look for an object whose creation the server did not confirm, and between two looks.
CONFIRMATION = 180.0
POLL = 5.0
_PAGE = 100
_LONGEST_MESSAGE = 300


class Unreachable(RunError):
    """The server did not answer, or a proxy answered for it; a later request may succeed."""


class NotSent(Unreachable):
    """The server could not be connected, so it has not received the request."""


class NotFound(UsageError):
    """KFP has no object of that name or id."""


class AlreadyExists(RunError):
    """KFP already has an object of that name."""


@dataclass(frozen=True, slots=True)
class Server:
    """A KFP server that has answered.

    Attributes:
        ui: base URL of its web pages; None if this machine cannot reach them.
        namespace: the user's namespace on a multi-user server; None on a single-user one.
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
        """Return the URL of a page; without host (`/#/…`) if the UI's address is unknown."""
        return f"{self.ui or ''}/#/{path}"


@contextmanager
def connect(endpoint: str | None = None, namespace: str | None = None) -> Iterator[Server]:
    """Connect to a KFP server, and yield it once it has answered.

    Args:
        endpoint: URL of KFP; None finds it as described in `pipeline.address`.
        namespace: the user's namespace, on a multi-user server.

    Raises:
        UsageError: no server is named, it refuses the request, or it is not KFP.
        Unreachable: it does not answer.
    """
    with find_address(endpoint) as address:
        client = _Client(address)
        try:
            service: Any = kfp_server_api.HealthzServiceApi(client)
            health = service.healthz_service_get_healthz()
        except NotFound as error:
            raise UsageError(
                f"there is no KFP API below {address.api}: KFP_ENDPOINT must be "
                "http(s)://host[:port][/path], with the path of KFP on that host, if any"
            ) from error
        yield Server(client, address.ui, _namespace(bool(health.multi_user), namespace, address))


def list_all(list_page: Callable[..., Any], field: str, **options: Any) -> Iterator[Any]:
    """Yield the entries of all pages of a list.

    Args:
        list_page: a `…_list_…` method of the generated client.
        field: of its answers, with the entries.
    """
    token = ""
    while True:
        answer = list_page(page_size=_PAGE, page_token=token, **options)
        yield from getattr(answer, field) or ()
        token = answer.next_page_token
        if not token:
            return


def create_once(create: Callable[[], Any], find: Callable[[], Any | None]) -> Any:
    """Send a request that creates an object; if its answer is lost, look for the object.

    The request is never sent again: a slow server would create a second object.

    Args:
        find: returns the object if the server has it. It must recognise this very request.

    Raises:
        Unreachable: the server did not confirm the object, and does not show it.
    """
    try:
        return create()
    except NotSent:
        raise
    except RunError as error:
        # A server that fails has finished; a lost answer may be that of a request in progress.
        deadline = time.monotonic() + (CONFIRMATION if isinstance(error, Unreachable) else 0.0)
        while True:
            with suppress(Unreachable):
                if (found := find()) is not None:
                    return found
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL)


def name_filter(name: str, operation: str = "EQUALS") -> str:
    """Return a filter for entries of this display name.

    Args:
        operation: `IS_SUBSTRING` finds names that contain the text.
    """
    predicate = {"operation": operation, "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def _namespace(multi_user: bool, namespace: str | None, address: Address) -> str | None:
    """Return the namespace to use (UsageError: it is missing, or the server has none)."""
    if not multi_user:
        if namespace is not None:
            raise UsageError(
                f"{address.api} is a single-user server: leave out --namespace, got {namespace}"
            )
        return None
    found = namespace or address.own_namespace
    if found is None:
        raise UsageError(
            f"{address.api} is a multi-user server: set --namespace NS to the namespace of the runs"
        )
    return found


class _Client(kfp_server_api.ApiClient):
    """The generated client, with a timeout for every request and one-line errors."""

    def __init__(self, address: Address) -> None:
        configuration: Any = kfp_server_api.Configuration(host=address.api)
        # This also disables redirects, which lead to login pages.
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
        """Send a request; every method of the generated client calls this."""
        where = self._address.api
        try:
            answer = super().request(
                method, url, query_params, headers, post_params, body, _preload_content, TIMEOUT
            )
        except kfp_server_api.ApiException as error:
            raise self._http_error(error) from error
        except urllib3.exceptions.NewConnectionError as error:
            raise NotSent(f"the KFP server at {where} cannot be reached: {_why(error)}") from error
        except urllib3.exceptions.TimeoutError as error:
            connect_limit, read_limit = TIMEOUT
            raise Unreachable(
                f"the KFP server at {where} did not answer within {connect_limit:g} s to connect "
                f"and {read_limit:g} s to reply: check the address and the load of the server"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(
                f"the connection to the KFP server at {where} was lost: {_why(error)}"
            ) from error
        try:
            json.loads(answer.data)
        except ValueError as error:
            raise self._foreign_answer(
                "with a page that is not from KFP (a login page?)"
            ) from error
        return answer

    def _http_error(self, error: Any) -> Exception:
        """Return the error of an HTTP status that is not a success."""
        where, status = self._address.api, error.status
        if not status:
            return UsageError(
                f"TLS with {where} failed: {_one_line(error.reason)}; for a private certificate "
                "authority, set KFP_CA_FILE to its certificate file"
            )
        message = self._message(error.body)
        if status in (401, 403):
            who = "refuses the token" if self._address.read_token else "asks for a token"
            return UsageError(
                f"the KFP server at {where} {who} ({status}{message}): "
                "set KFP_TOKEN to a valid token"
            )
        if 300 <= status < 400:
            return self._foreign_answer(f"with a redirect ({status}, to a login page?)")
        if status == 400:
            return UsageError(f"the KFP server at {where} refuses the request{message}")
        if status == 404:
            return NotFound(f"the KFP server at {where} has no such object{message}")
        if status == 409:
            return AlreadyExists(
                f"the KFP server at {where} already has an object of that name{message}"
            )
        if status in (502, 503, 504):
            return Unreachable(f"the KFP server behind {where} does not answer ({status}{message})")
        return RunError(f"the KFP server at {where} failed ({status}{message})")

    def _foreign_answer(self, how: str) -> UsageError:
        """Return the error of an answer that is not from KFP."""
        return UsageError(
            f"{self._address.api} answers {how}: set KFP_TOKEN to a token that its proxy accepts, "
            "or KFP_ENDPOINT to the KFP server behind the proxy"
        )

    def _message(self, body: bytes | str | None) -> str:
        """Return KFP's error message as `: …`, or '' if the answer is not from KFP."""
        try:
            content = json.loads(body or "")
        except ValueError:
            return ""
        if not isinstance(content, dict):
            return ""
        # Fields of the API gateway's errors, and of the upload handler's.
        message = content.get("message") or content.get("error_message") or content.get("error")
        text = _one_line(str(message or ""))
        if self._address.read_token is not None:
            text = text.replace(self._address.read_token(), "***")
        return f": {text[:_LONGEST_MESSAGE]}" if text else ""


def _why(error: Exception) -> str:
    """Return the innermost reason, without the representation of an object."""
    inner = error.__cause__ or next((a for a in error.args if isinstance(a, Exception)), error)
    return _one_line(str(getattr(inner, "strerror", None) or inner))


def _one_line(text: str) -> str:
    return " ".join(text.split())
