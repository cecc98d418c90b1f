"""Errors in the shape that OpenAI clients expect, with vLLM's type names and codes."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def error(status: int, message: str) -> dict[str, object]:
    """Return an error object: 404 is a `NotFoundError`, and so on."""
    kind = HTTPStatus(status).phrase.title().replace(" ", "").removesuffix("Error") + "Error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer of a request that failed."""
    # A body that was refused unread would be taken for the connection's next request.
    closing = {"connection": "close"} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else {}
    return JSONResponse(error(status, message), status, {**(headers or {}), **closing})


def refused(request: Request, exc: Exception) -> Response:
    """Answer a request that an endpoint or the table of routes refused."""
    status = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = exc.detail if isinstance(exc, HTTPException) else "the gateway failed; its log says why"
    headers = exc.headers if isinstance(exc, HTTPException) else None
    return refusal(status, f"{request.method} {request.url.path}: {detail}", headers)
