"""Send requests to a gateway and keep what came back.

Latency counts from when a request was due, so a stalled gateway cannot hide the requests it held up.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

import httpx

from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.results.history import History
from kvsync.testing.traffic.trace import TraceRequest

REQUEST_TIMEOUT_S = 15.0
"""Longer than any fault of the quick profile: a request that a fault delays is late, not lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for a request that was due at `t_mono`; `predicted` and `cached_tokens` count tokens.

    `late_s` is how much later than that it was sent, and part of `latency_s`.

    A field that the gateway or the pod did not fill is empty or None; `error` says why `ok` is False.
    """

    number: int
    model: str
    t_mono: float
    latency_s: float
    ok: bool
    late_s: float = 0.0
    status: int = 0
    pod: str = ""
    selection: str = ""
    source_state: str = ""
    matched_blocks: int | None = None
    predicted: int | None = None
    cached_tokens: int | None = None
    prompt_tokens: int | None = None
    error: str = ""


class Sender:
    """Sends completions to one URL (a gateway, or a pod directly) and records each in the history as `f`."""

    def __init__(
        self, url: str, history: History, *, timeout_s: float = REQUEST_TIMEOUT_S, f: str = "request"
    ) -> None:
        self._history, self._f = history, f
        self._client = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=None),
            verify=NO_CERTIFICATES,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def send(self, request: TraceRequest, due: float | None = None) -> Answer:
        """Send one request now and wait for its answer; a failure is an answer too."""
        sent = time.monotonic()
        began = sent if due is None else due
        body: dict[str, object] = {
            "model": request.model,
            "prompt": request.token_ids,
            "max_tokens": request.max_tokens,
        }
        if request.cache_salt is not None:
            body["cache_salt"] = request.cache_salt
        try:
            response = self._client.post("/v1/completions", json=body)
            answer = _answer(request, began, response)
        except (httpx.HTTPError, ValueError) as exc:
            answer = _failure(request, began, f"{type(exc).__name__}: {exc}")
        answer = replace(answer, late_s=sent - began)
        self._history.append(f=self._f, type="ok" if answer.ok else "fail", **_fields(answer))
        return answer

    def send_all(self, requests: Iterable[TraceRequest], *, workers: int = 1) -> list[Answer]:
        """Send requests as fast as `workers` of them at a time are answered; answers in their order."""
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self.send, requests))


def _answer(request: TraceRequest, began: float, response: httpx.Response) -> Answer:
    if response.status_code != httpx.codes.OK:
        return _failure(request, began, response.text[:500], response.status_code)
    usage = response.json().get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        number=request.number,
        model=request.model,
        t_mono=began,
        latency_s=time.monotonic() - began,
        ok=True,
        status=response.status_code,
        pod=response.headers.get("x-kvsync-pod", ""),
        selection=response.headers.get("x-kvsync-selection", ""),
        source_state=response.headers.get("x-kvsync-source-state", ""),
        matched_blocks=_number(response, "x-kvsync-matched-blocks"),
        predicted=_number(response, "x-kvsync-predicted-cached-tokens"),
        cached_tokens=details.get("cached_tokens"),
        prompt_tokens=usage.get("prompt_tokens"),
    )


def _failure(request: TraceRequest, began: float, error: str, status: int = 0) -> Answer:
    return Answer(
        number=request.number,
        model=request.model,
        t_mono=began,
        latency_s=time.monotonic() - began,
        ok=False,
        status=status,
        error=error,
    )


def _number(response: httpx.Response, header: str) -> int | None:
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() else None


def _fields(answer: Answer) -> dict[str, object]:
    """Return what the history keeps: the record has a time of its own, when the answer was there."""
    fields = asdict(answer)
    fields["due"] = fields.pop("t_mono")
    return fields
