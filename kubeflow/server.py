"""Kubeflow Pipelines' API server, through kfp's own client: with a time limit, and errors that say what to do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx_edge.config import Config
from tfx_edge.errors import ConfigError, EdgeError

_ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"
_CONNECTION = re.compile(r"^<[^>]*>: ")
_REMEDIES = {
    401: "the server wants to know who asks: give --token-file, or renew the token",
    403: "the login may not do this: check --namespace and the role of the service account",
    404: "there is no such thing, or no Kubeflow Pipelines v2 at this address: check --host and the name",
    409: "it exists already",
}


class ServerError(EdgeError):
    """Kubeflow Pipelines cannot be reached, refuses, or answers something else than its API."""

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing
        """Whether the same request may succeed a little later."""


class ServerSettings(Config):
    """How the server is reached.

    Attributes:
      host: its address; None takes the environment variable KF_PIPELINES_ENDPOINT, then the cluster that this process
        runs in, then what kubectl is set up for.
      namespace: the user's namespace on a server for several users.
      token_file: holds a bearer token.
      request_timeout: seconds until a request is given up.
    """

    host: str | None = None
    namespace: str | None = None
    token_file: Path | None = None
    request_timeout: int = 30

    @property
    def address(self) -> str:
        """The server as messages name it."""
        return self.host or os.environ.get(_ENDPOINT_VARIABLE) or "the Kubeflow Pipelines of this cluster"


def connect(settings: ServerSettings) -> Any:
    """A `kfp.Client` every request of which ends in time; makes no request itself.

    Raises:
      ConfigError: kfp is not installed, or the token cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp
            import kfp_server_api
            from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
    except ImportError as error:
        raise ConfigError(
            f"Kubeflow's client cannot be imported ({error}); pip install 'tfx-edge[kubeflow]'"
        ) from error

    class Client(kfp.Client):
        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            # kfp asks when it is made, five times, to find the namespace, which is given here.
            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    credentials = None
    if settings.token_file:
        try:
            settings.token_file.read_text()
        except OSError as error:
            raise ConfigError(f"cannot read the token in {str(settings.token_file)!r} ({error.strerror})") from error
        # Reads it again for each request: a cluster renews it about every hour.
        credentials = ServiceAccountTokenVolumeCredentials(str(settings.token_file))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        client = Client(host=settings.host, credentials=credentials)
    _limit(client._run_api.api_client.rest_client, settings)
    return client


def _limit(rest: Any, settings: ServerSettings) -> None:
    """Gives every request a time limit, no silent repetitions, and an answer that is JSON."""
    from urllib3.util import Retry

    rest.pool_manager.connection_pool_kw["retries"] = Retry(0)
    send = rest.request

    def request(*arguments: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or settings.request_timeout
        answer = send(*arguments, **options)
        try:
            json.loads(answer.data or "{}")
        except ValueError:
            raise ServerError(
                f"{settings.address} answered something else than Kubeflow's API, perhaps a page to log in; check "
                "--host, and give --token-file where the server asks for a login"
            ) from None
        return answer

    rest.request = request


@contextlib.contextmanager
def asking(settings: ServerSettings, what: str) -> Iterator[None]:
    """Turns what kfp's client raises into one line.

    Args:
      settings: how the server is reached.
      what: what was asked for, such as "creating the schedule 'nightly'".

    Raises:
      ServerError: with the remedy.
    """
    import kfp_server_api
    import urllib3

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # kfp prints links
            yield
    except kfp_server_api.ApiException as error:
        raise _refused(settings, what, error) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
            raise ServerError(
                f"{what}: {settings.address} did not answer within {settings.request_timeout} s; try again, or give "
                "more --request-timeout",
                passing=True,
            ) from error
        raise ServerError(
            f"{what}: cannot reach {settings.address} ({_short(_said(reason))}); check --host or {_ENDPOINT_VARIABLE}, "
            "and whether a port-forward still runs",
            passing=True,
        ) from error


def _refused(settings: ServerSettings, what: str, error: Any) -> ServerError:
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        document = json.loads(text)
        told = str(document.get("message") or document.get("error_message") or document.get("error") or "")
    except (ValueError, AttributeError):
        told = ""
    status = error.status or 0
    remedy = _REMEDIES.get(status)
    if not remedy:
        remedy = "see the log of its ml-pipeline pod" if status >= 500 else "check what was given"
    detail = f": {_short(told)}" if told else ""
    return ServerError(
        f"{what}: {settings.address} answered {status} {error.reason}{detail}; {remedy}", passing=status >= 500
    )


def _said(error: Exception) -> str:
    """What an error of urllib3 says, without the connection that it names first."""
    return _CONNECTION.sub("", str(error.args[-1] if error.args else error))


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else line[:300] + "…"
