"""Errors in the shapes that clients expect: OpenAI's with vLLM's type names and codes, or Anthropic's."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

ANTHROPIC_PATH = "/v1/messages"
"""Here, and below, Anthropic's clients ask."""

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""https://platform.claude.com/docs/en/api/errors; other statuses are the request's or the server's fault."""


def error(path: str, status: int, message: str) -> dict[str, object]:
    """Return an error object for a client that asked at `path`; for OpenAI's 404 is a `NotFoundError`."""
    if is_anthropic(path):
        other = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "api_error"
        kind = _ANTHROPIC_TYPES.get(status, other)
        return {"type": "error", "error": {"type": kind, "message": message}}
    kind = HTTPStatus(status).phrase.title().replace(" ", "").removesuffix("Error") + "Error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def is_anthropic(path: str) -> bool:
    """Say whether Anthropic's clients ask at this path."""
    return path == ANTHROPIC_PATH or path.startswith(f"{ANTHROPIC_PATH}/")


def error_event(path: str, status: int, message: str) -> bytes:
    """Return the event that ends a stream in which something failed; of completions it has no name."""
    said = error(path, status, message)
    if path == "/v1/responses":  # OpenAI's package raises what has an `error`, and would hand on the event
        said |= {"type": "error", "code": str(status), "message": message, "param": None}
    name = b"event: error\n" if "type" in said else b""
    return name + b"data: " + json.dumps(said).encode() + b"\n\n"


def refusal(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer of a request that failed."""
    # A body that was refused unread would be taken for the connection's next request.
    is_unread = status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    closing = {"connection": "close"} if is_unread else {}
    return JSONResponse(error(path, status, message), status, {**(headers or {}), **closing})


def refused(request: Request, exc: Exception) -> Response:
    """Answer a request that an endpoint or the table of routes refused."""
    status = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = exc.detail if isinstance(exc, HTTPException) else "the gateway failed; its log says why"
    headers = exc.headers if isinstance(exc, HTTPException) else None
    path = request.url.path
    return refusal(path, status, f"{request.method} {path}: {detail}", headers)
