"""Requests through a gateway, from sixteen clients that each wait for their answer: what one costs it."""

import http.client
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from kvsync.testing.benchmarks.peers.gateways import (
    ASKED_TIMEOUT_S,
    HOST,
    MODEL,
    Contender,
    EngineAddress,
    GatewayBench,
)
from kvsync.testing.benchmarks.peers.turns import Figures

CLIENTS = 16
WARM_UP = 64
ANSWER_TOKENS = 16
LONG = 8192
"""Token ids of a long prompt."""
WORDS = 40
"""Numbers in a text, of some 450 characters."""
IDS = range(1 << 16)

Kind = Literal["plain", "streamed", "8K ids"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """Completions of one kind: of a text, whole or token by token, or of a prompt of 8,192 token ids."""

    bench: GatewayBench
    kind: Kind
    requests: int

    def play(self, contender: Contender, engines: Sequence[EngineAddress]) -> Figures:
        """Count what a request costs. Raises AssertionError for an answer that is none, and ProgramEnded."""
        bodies = self.bodies()
        with self.bench.gateway(contender, engines) as gateway:
            self._send(gateway.port, bodies[:WARM_UP])
            before, began = gateway.cpu_s(), time.monotonic()
            self._send(gateway.port, bodies[WARM_UP:])
            used, took = gateway.cpu_s() - before, time.monotonic() - began
        return {"cpu": used / self.requests * 1e6, "wall": took / self.requests * 1e6}

    def bodies(self) -> list[bytes]:
        """Return what is sent: of each four prompts, two begin alike."""
        rng = random.Random(self.bench.seed)  # noqa: S311 - no secret
        length = LONG if self.kind == "8K ids" else WORDS
        shared = rng.choices(IDS, k=3 * length // 4)
        made = []
        for number in range(WARM_UP + self.requests):
            begun = shared if number % 4 < 2 else []
            ids = begun + rng.choices(IDS, k=length - len(begun))
            prompt = ids if self.kind == "8K ids" else "".join(f"word {number} " for number in ids)
            body = {"model": MODEL, "prompt": prompt, "max_tokens": ANSWER_TOKENS}
            made.append(json.dumps({**body, "stream": self.kind == "streamed"}).encode())
        return made

    def _send(self, port: int, bodies: Sequence[bytes]) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            parts = [bodies[number::CLIENTS] for number in range(CLIENTS)]
            for answered in clients.map(_send_in_turn, [port] * CLIENTS, parts):
                for status, answer in answered:
                    assert status == http.client.OK, f"status {status}: {answer!r}"
                    assert b'"finish_reason":"length"' in answer.replace(b" ", b""), f"no answer: {answer!r}"


def _send_in_turn(port: int, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=ASKED_TIMEOUT_S)
    answered = []
    for body in bodies:
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answered.append((answer.status, answer.read()[-400:]))
    connection.close()
    return answered
