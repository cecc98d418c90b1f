"""How each gateway is run and asked: ours, and those of peers as their own help describes it."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kvsync.testing.benchmarks.peers.gateways import (
    HOST,
    MODEL,
    Contender,
    EngineAddress,
    RunningGateway,
    ask,
)
from kvsync.testing.benchmarks.peers.table import Installed


def ours() -> Contender:
    """Return our gateway."""
    return Contender(name="kvsync", words=_our_words, ready="/readyz", holds=_we_hold)


def theirs(peer: Installed) -> Contender:
    """Return the gateway of a peer, or its indexer where it has one of its own."""
    return CONTENDERS[peer.name](peer)


def _our_words(engines: Sequence[EngineAddress], port: int, metrics: int, folder: Path) -> list[str]:
    pods = [
        {
            "name": f"engine-{number}",
            "model": MODEL,
            "host": HOST,
            "port": each.port,
            "event_port": each.event_port,
            "replay_port": each.replay_port,
        }
        for number, each in enumerate(engines)
    ]
    settings = folder / "gateway.json"
    settings.write_text(json.dumps({"pods": pods}), "utf-8")
    words = [f"--config={settings}", f"--host={HOST}", f"--port={port}", "--log-level=warning"]
    return [sys.executable, "-m", "kvsync", "gateway", *words, "--exit-with-stdin"]


def _we_hold(gateway: RunningGateway, tokens: Sequence[int]) -> bool:
    _, answer = ask(gateway.port, "/index/query", {"model": MODEL, "token_ids": tokens})
    return bool(json.loads(answer)["matched"])


def _vllm_router(peer: Installed) -> Contender:
    def words(engines: Sequence[EngineAddress], port: int, metrics: int, _: Path) -> list[str]:
        sources = [f"--kv-event-source={each.url}={each.events}" for each in engines]
        own = [f"--host={HOST}", f"--port={port}", "--policy=kv_aware", f"--kv-event-model={MODEL}"]
        own += [f"--prometheus-host={HOST}", f"--prometheus-port={metrics}", "--log-level=warning"]
        return [str(peer.program), *own, *sources, "--worker-urls", *(each.url for each in engines)]

    def holds(gateway: RunningGateway, tokens: Sequence[int]) -> bool:
        # It counts lookups that found something, and looks up what is asked for.
        body = {"model": MODEL, "prompt": [*tokens, 0], "max_tokens": 1}
        status, answer = ask(gateway.port, "/v1/completions", body)
        assert status == 200, f"{peer} answered {status}: {answer!r}"
        return b'kv_placement_lookups_total{result="hit"}' in ask(gateway.metrics, "/metrics")[1]

    return Contender(name=peer.name, words=words, ready="/health", holds=holds)


def _sglang_router(peer: Installed) -> Contender:
    def words(engines: Sequence[EngineAddress], port: int, metrics: int, _: Path) -> list[str]:
        own = ["launch", f"--host={HOST}", f"--port={port}", "--policy=cache_aware", "--log-level=warn"]
        own += [f"--prometheus-host={HOST}", f"--prometheus-port={metrics}"]
        return [str(peer.program), *own, "--worker-urls", *(each.url for each in engines)]

    return Contender(name=peer.name, words=words, ready="/health")


def _dynamo(peer: Installed) -> Contender:
    def words(engines: Sequence[EngineAddress], port: int, metrics: int, _: Path) -> list[str]:
        workers = ",".join(f"{number}={each.events}" for number, each in enumerate(engines))
        own = ["-m", "dynamo.indexer", "--block-size=16", f"--port={port}", f"--model-name={MODEL}"]
        return [str(peer.program), *own, f"--workers={workers}"]

    def holds(gateway: RunningGateway, tokens: Sequence[int]) -> bool:
        _, answer = ask(gateway.port, "/query", {"token_ids": tokens, "model_name": MODEL})
        return bool(json.loads(answer)["instances"])

    return Contender(name=peer.name, words=words, ready="/health", holds=holds)


CONTENDERS: dict[str, Callable[[Installed], Contender]] = {
    "vllm-router": _vllm_router,
    "sglang-router": _sglang_router,
    "dynamo": _dynamo,
}
