"""What is asked of a response that was given before: it goes to the pod that gave it."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kvsync.gateway.answers.ending import to_its_end
from kvsync.gateway.answers.stored import StoredResponses
from kvsync.gateway.operation.passage import CLIENT, passage_of
from kvsync.gateway.proxy import Proxy, UpstreamAnswer, UpstreamFailure
from kvsync.gateway.refusal import refusal
from kvsync.pods import Pod

STORED_PATHS = {
    "/v1/responses/{id}": ("GET", "DELETE"),
    "/v1/responses/{id}/cancel": ("POST",),
    "/v1/responses/{id}/input_items": ("GET",),
}
"""The paths of a stored response, with their methods."""


class StoredRelay:
    """An ASGI endpoint for stored responses; a request's body, which has no meaning here, stays unread."""

    def __init__(self, stored: StoredResponses, proxy: Proxy, pods: Callable[[], Sequence[Pod]]) -> None:
        self._stored = stored
        self._proxy = proxy
        self._pods = pods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on. Raises HTTPException 404 of a response that is not known, 503."""
        request = Request(scope, receive)
        pod = self._pod_of(request.path_params["id"], scope.get(CLIENT, ""))
        passage = passage_of(scope)
        passage.pod, passage.outcome = pod.name, "disconnected"
        await to_its_end(scope, receive, send, partial(self._serve, request, pod))

    async def _serve(self, request: Request, pod: Pod, send: Send) -> None:
        path = f"{request.url.path}?{request.url.query}".removesuffix("?")
        headers = request.headers.raw
        async with self._proxy.send(pod, request.method, path, headers, b"") as answer:
            said = answer.said if isinstance(answer, UpstreamFailure) else answer
            if said is None:
                why = f"pod {pod.name}, which has this response, failed: {answer.reason}"  # type: ignore[union-attr]
                await refusal(path, 503, why)(request.scope, request.receive, send)
                passage_of(request.scope).outcome = ""
            else:
                passage_of(request.scope).outcome = await _pass_on(said, pod, send)

    def _pod_of(self, response: str, client: str) -> Pod:
        name = self._stored.pod_of(response, client)
        if name is None:
            why = "it was not answered through this gateway, or too long ago (routing.stored_responses)"
            raise HTTPException(404, f"response {response!r} is not known: {why}")
        found = next((pod for pod in self._pods() if pod.name == name), None)
        if found is None:
            raise HTTPException(404, f"response {response!r} is lost: pod {name}, which had it, is gone")
        return found


async def _pass_on(answer: UpstreamAnswer, pod: Pod, send: Send) -> str:
    """Pass an answer on; returns how it ended, if not with its status."""
    headers = [*answer.headers, (b"x-kvsync-pod", pod.name.encode("latin-1", "replace"))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async with aclosing(answer.chunks) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, UpstreamFailure):
                return "broken"  # without its end, the answer is seen to be incomplete
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return ""
