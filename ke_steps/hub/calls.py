"""Calls to the Hugging Face hub and the like: repeated while that can help, refused in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RevisionResolutionError,
)

from ke_steps.job.errors import UserError

WAITS_SECONDS = (2, 10, 30)
"""Before the second, third and last attempt; a longer Retry-After of the hub counts instead."""

MAX_WAIT_SECONDS = 300
FAILURES = (
    httpx.HTTPError,
    OSError,
    RevisionResolutionError,
    HFValidationError,
    json.JSONDecodeError,
)
TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

_STATUS_REMEDIES = {
    401: "no such repo, or a private one: log in with `hf auth login` or set HF_TOKEN",
    403: "your token may not read it: ask for access on its page, or use another HF_TOKEN",
    404: "no such repo, revision or file, or a private repo: check the name, or set HF_TOKEN",
    429: "too many requests: wait some minutes, or log in for a higher limit",
}


T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """Who is called: its address, and what to do about each status that it may answer."""

    url: str
    remedies: Mapping[int, str]


def hub_server() -> Server:
    """Return the Hugging Face hub, or the mirror that HF_ENDPOINT names."""
    return Server(constants.ENDPOINT, _STATUS_REMEDIES)


def call_hub(repo: str, call: Callable[[], T]) -> T:
    """Return what a call of the hub's client returns, as ``call_server`` does."""
    return call_server(hub_server(), repo, call)


def call_server(server: Server, what: str, call: Callable[[], T]) -> T:
    """Return what a call of the hub's client returns; repeat it while the failure may pass.

    Args:
        server: whom it calls.
        what: what the error is about.
        call: of huggingface_hub, safe to repeat.

    Raises:
        UserError: the server refuses, or still fails after the last attempt.
    """
    waits = iter(WAITS_SECONDS)
    while True:
        try:
            return call()
        except FAILURES as raised:
            error = _cause(raised)
            planned_seconds = next(waits, None)
            if planned_seconds is None or not _may_pass(error):
                raise UserError(f"{what}: {_explain(error, server)}") from raised
            time.sleep(_wait_seconds(error, planned_seconds))


def _cause(error: BaseException) -> BaseException:
    """Return what the client wrapped: it reports every failure as 'not found in the cache'."""
    wrappers = (LocalEntryNotFoundError, RevisionResolutionError)
    while isinstance(error, wrappers) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT_STATUS
    return isinstance(error, httpx.TransportError) or _is_truncation(error)


def _is_truncation(error: BaseException) -> bool:
    # the client reports a body that ended too early as an OSError without a number
    return type(error) is OSError and error.errno is None


def _wait_seconds(error: BaseException, planned_seconds: float) -> float:
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(max(planned_seconds, int(asked)), MAX_WAIT_SECONDS)
    return planned_seconds


def _explain(error: BaseException, server: Server) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        remedy = server.remedies.get(status, "try again later; what has arrived is kept")
        return f"{error.response.request.url.host} answers {status}: {remedy}"
    if isinstance(error, OfflineModeIsEnabled):
        return "not in the cache, and HF_HUB_OFFLINE forbids a download"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileMetadataError | json.JSONDecodeError):
        return f"{server.url} does not answer like a hub ({reason})"
    if isinstance(error, httpx.TransportError) or _is_truncation(error):
        return (
            f"no lasting connection to {server.url} ({reason}); what has arrived is kept,"
            " so try again; HF_HUB_OFFLINE=1 uses the cache alone"
        )
    return reason
