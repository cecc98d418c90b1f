"""The HTTP interface of the simulated engine: what a vLLM OpenAI server offers that routers use."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from itertools import count
from typing import Literal
from uuid import uuid4

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kvsync.simulator import messages, openai, responses
from kvsync.simulator.embeddings import embeddings
from kvsync.simulator.engine import Engine, EngineRestarted
from kvsync.simulator.metrics import render
from kvsync.simulator.openai import ApiError, Call, Json, ServedModels
from kvsync.simulator.tokenizer import detokenize

VERSION = "0.26.0"
"""The vLLM release whose behaviour is imitated."""


Rendering = Literal["offered", "forbidden", "absent"]
"""Whether requests are rendered: by vLLM 0.32 with --enable-scale-out, else forbidden; not by older ones."""

Details = Literal["always", "if-any", "never"]
"""When a usage says how many tokens were cached: with vLLM's --enable-prompt-tokens-details always since 0.24
and if there are any before; without it, never."""


def create_app(
    engine: Engine,
    card: ServedModels,
    *,
    details: Details = "always",
    rendering: Rendering = "offered",
    api_key: str = "",
) -> Starlette:
    """The API of one engine; `engine.run` must be running as well.

    `rendering` says whether the tokens of a request are told. An `api_key` is asked for, if given.
    """
    api = Api(engine, card, details)
    return Starlette(
        routes=[*api.routes(), *api.renderers(rendering)],
        exception_handlers={ApiError: error_response},
        middleware=[Middleware(_KeyRequired, api_key=api_key)] if api_key else [],
    )


class _KeyRequired:
    """Refuses requests below /v1 without the key, as vLLM's --api-key does; other paths are open."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app, self._expected = app, f"Bearer {api_key}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"].startswith("/v1")
        if guarded and Headers(scope=scope).get("authorization") != self._expected:
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def read_json(request: Request) -> Json:
    """The body as a JSON object; raises ApiError 400."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as exc:
        raise openai.bad_request(f"the body is not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise openai.bad_request("the body must be a JSON object")
    return body


class Api:
    """The handlers of one engine's routes."""

    def __init__(self, engine: Engine, card: ServedModels, details: Details) -> None:
        self._engine, self._card, self._details = engine, card, details
        self._created = int(time.time())
        self._numbers = count()
        self._responses = responses.KeptResponses()

    def routes(self) -> list[Route]:
        """Every path that is served."""
        return [
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", self.count_tokens, methods=["POST"]),
            Route("/v1/responses", self.responses, methods=["POST"]),
            Route("/v1/responses/{id}", self.stored_response),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/detokenize", self.detokenize, methods=["POST"]),
            Route("/health", self.health),
            Route("/version", self.version),
            Route("/metrics", self.metrics),
            Route("/reset_prefix_cache", self.reset_prefix_cache, methods=["POST"]),
        ]

    def renderers(self, rendering: Rendering) -> list[Route]:
        """The paths that tell the tokens of a request instead of answering it, of newer releases."""
        handlers = {
            "/v1/completions/render": self.render_completion,
            "/v1/chat/completions/render": self.render_chat,
            "/v1/messages/render": self.render_message,
            "/v1/responses/render": self.render_response,
        }
        if rendering == "absent":
            return []
        refuse = self.refuse_rendering if rendering == "forbidden" else None
        return [Route(path, refuse or handler, methods=["POST"]) for path, handler in handlers.items()]

    async def refuse_rendering(self, _: Request) -> Response:
        """Say that it is switched off."""
        return JSONResponse({"error": {"message": "--enable-scale-out is off", "code": 403}}, 403)

    async def render_completion(self, request: Request) -> Response:
        """The tokens of each prompt."""
        call = openai.parse_completion(await read_json(request), self._card)
        return JSONResponse([{"token_ids": list(prompt)} for prompt in call.prompts])

    async def render_chat(self, request: Request) -> Response:
        """The tokens of a conversation."""
        call = openai.parse_chat(await read_json(request), self._card)
        return JSONResponse({"token_ids": list(call.prompts[0])})

    async def render_message(self, request: Request) -> Response:
        """The tokens of a conversation in Anthropic's terms."""
        call = messages.parse(await read_json(request), self._card)
        return JSONResponse({"token_ids": list(call.prompts[0])})

    async def render_response(self, request: Request) -> Response:
        """The tokens of a conversation that is told whole."""
        body = await read_json(request)
        if body.get("previous_response_id") is not None:
            raise openai.bad_request("previous_response_id is not supported by the stateless render endpoint")
        call, _ = self._response(body)
        return JSONResponse({"token_ids": list(call.prompts[0])})

    async def completions(self, request: Request) -> Response:
        """Complete a prompt, or several."""
        call = openai.parse_completion(await read_json(request), self._card)
        return await self._answer(request, call, f"cmpl-{next(self._numbers)}")

    async def chat_completions(self, request: Request) -> Response:
        """Answer a conversation."""
        call = openai.parse_chat(await read_json(request), self._card)
        return await self._answer(request, call, f"chatcmpl-{next(self._numbers)}")

    async def messages(self, request: Request) -> Response:
        """Answer a conversation in Anthropic's terms."""
        call, name = messages.parse(await read_json(request), self._card), f"msg_{next(self._numbers)}"

        def whole(text: str, usage: Json) -> Json:
            return messages.message(call, name, text, usage)

        if not call.stream:
            return await _unless_gone(request.receive, self._one(call, whole))
        events = self._named_events(
            call,
            messages.opening(call, name),
            messages.part,
            lambda _, usage: messages.closing(call, usage),
        )
        return StreamingResponse(events, media_type="text/event-stream")

    async def count_tokens(self, request: Request) -> Response:
        """How many tokens a conversation in Anthropic's terms has."""
        body = await read_json(request)
        call = messages.parse({**body, "max_tokens": 1}, self._card)
        return JSONResponse({"input_tokens": len(call.prompts[0])})

    async def responses(self, request: Request) -> Response:
        """Answer what may go on with an earlier answer."""
        body = await read_json(request)
        call, turns = self._response(body)
        name, created = f"resp_{uuid4().hex}", int(time.time())

        def whole(text: str, usage: Json) -> Json:
            response = responses.response(call, name, created, text, usage)
            if body.get("store") is not False:
                self._responses.put(response, turns)
            return response

        if not call.stream:
            return await _unless_gone(request.receive, self._one(call, whole))
        events = self._named_events(
            call,
            responses.opening(responses.response(call, name, created, None, {})),
            lambda token: responses.part(name, token),
            lambda text, usage: responses.closing(whole(text, usage)),
        )
        return StreamingResponse(events, media_type="text/event-stream")

    async def stored_response(self, request: Request) -> Response:
        """An earlier answer once more."""
        return JSONResponse(self._responses.find(request.path_params["id"])[0])

    async def embeddings(self, request: Request) -> Response:
        """A vector for each text."""
        return JSONResponse(embeddings(await read_json(request), self._card))

    async def models(self, _: Request) -> Response:
        """The base model and its adapters."""
        return JSONResponse(self._card.listing(self._created))

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text or of a conversation."""
        body = await read_json(request)
        self._card.scope(body.get("model"), None)
        # vLLM's /tokenize knows tools, but neither documents nor reasoning_effort.
        is_chat = "messages" in body
        tokens = openai.tokens_of_chat(body, ("tools",)) if is_chat else openai.tokens_of_text(body)
        answer = {"count": len(tokens), "max_model_len": self._card.max_model_len, "tokens": tokens}
        return JSONResponse(answer)

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens."""
        body = await read_json(request)
        return JSONResponse({"prompt": detokenize(openai.ids(body.get("tokens"), "tokens"))})

    async def health(self, _: Request) -> Response:
        """Say that the engine is alive."""
        return Response()

    async def version(self, _: Request) -> Response:
        """The imitated release."""
        return JSONResponse({"version": VERSION})

    async def metrics(self, _: Request) -> Response:
        """The metrics in Prometheus' text format."""
        text = render(self._engine.metrics, self._engine.scheduler, self._card.model)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def reset_prefix_cache(self, _: Request) -> Response:
        """Empty the cache; 200 even when that was refused because requests run, as vLLM answers.

        As by vLLM it is announced with the next step, which an idle engine does not make.
        """
        self._engine.clear(late=True)
        return Response()

    async def _answer(self, request: Request, call: Call, name: str) -> Response:
        if call.stream:
            return StreamingResponse(self._events(call, name), media_type="text/event-stream")
        return await _unless_gone(request.receive, self._whole(call, name))

    def _response(self, body: Json) -> tuple[Call, list[object]]:
        turns = responses.turns(body, self._responses)
        return responses.parse(body, turns, self._card), turns

    async def _whole(self, call: Call, name: str) -> Response:
        try:
            answers, usage = await self._generate(call)
        except EngineRestarted as exc:
            return JSONResponse(_crashed(exc).body(), 500)
        return JSONResponse({**openai.completion(call, name, int(time.time()), answers), "usage": usage})

    async def _one(self, call: Call, whole: Callable[[str, Json], Json]) -> Response:
        try:
            answers, usage = await self._generate(call)
        except EngineRestarted as exc:
            return JSONResponse(_crashed(exc).body(), 500)
        return JSONResponse(whole(detokenize(answers[0]), usage))

    async def _generate(self, call: Call) -> tuple[list[list[int]], Json]:
        work = call.work()
        answers: list[list[int]] = [[] for _ in work]
        cached: dict[int, int] = {}
        async with aclosing(self._engine.generate(work)) as tokens:
            async for token in tokens:
                answers[token.index].append(token.token)
                cached[token.index] = token.cached_tokens
        return answers, self._usage(call, cached)

    async def _named_events(
        self,
        call: Call,
        opening: Iterable[tuple[str, Json]],
        part: Callable[[int], tuple[str, Json]],
        closing: Callable[[str, Json], Iterable[tuple[str, Json]]],
    ) -> AsyncIterator[str]:
        """A stream whose events have names, and that ends with the last of them."""
        answer: list[int] = []
        cached: dict[int, int] = {}
        for name, body in opening:
            yield _event({"type": name, **body}, name)
        try:
            async with aclosing(self._engine.generate(call.work())) as tokens:
                async for token in tokens:
                    answer.append(token.token)
                    cached[token.index] = token.cached_tokens
                    name, body = part(token.token)
                    yield _event({"type": name, **body}, name)
        except EngineRestarted as exc:
            yield _event({"type": "error", **_crashed(exc).body()}, "error")
            return
        for name, body in closing(detokenize(answer), self._usage(call, cached)):
            yield _event({"type": name, **body}, name)

    async def _events(self, call: Call, name: str) -> AsyncIterator[str]:
        created = int(time.time())
        cached: dict[int, int] = {}
        for body in openai.opening(call, name, created):
            yield _event(body)
        try:
            async with aclosing(self._engine.generate(call.work())) as tokens:
                async for token in tokens:
                    cached[token.index] = token.cached_tokens
                    yield _event(openai.chunk(call, name, created, token))
        except EngineRestarted as exc:
            yield _event(_crashed(exc).body())
        else:
            if call.include_usage:
                yield _event(openai.closing(call, name, created, self._usage(call, cached)))
        yield "data: [DONE]\n\n"

    def _usage(self, call: Call, cached: Mapping[int, int]) -> Json:
        told = self._details == "always" or (self._details == "if-any" and any(cached.values()))
        return call.usage(cached) | ({} if told else {"prompt_tokens_details": None})


def _event(body: Json, name: str = "") -> str:
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(body, separators=(',', ':'))}\n\n"


def _crashed(exc: EngineRestarted) -> ApiError:
    return ApiError(500, "InternalServerError", str(exc))


async def error_response(request: Request, exc: Exception) -> Response:
    """An ApiError as OpenAI's clients expect it, or Anthropic's."""
    assert isinstance(exc, ApiError)
    is_message = request.url.path in ("/v1/messages", "/v1/messages/count_tokens")
    return JSONResponse(messages.error(exc) if is_message else exc.body(), exc.status)


async def _unless_gone(receive: Receive, answer: Coroutine[object, object, Response]) -> Response:
    """The answer; given up, so that its blocks are freed, when the client closes the connection first."""
    async with asyncio.TaskGroup() as group:
        work = group.create_task(answer)
        watch = group.create_task(_gone(receive))
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        watch.cancel()
    return Response(status_code=499) if work.cancelled() else work.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
