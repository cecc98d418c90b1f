"""What the gateway knows, for people and for tests: every source's state, and the index itself."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import kvsync
from kvsync import core
from kvsync.config import GatewayConfig
from kvsync.events import Source
from kvsync.gateway.catalog import adapter_numbers
from kvsync.gateway.engines import Engines
from kvsync.gateway.failover.breaker import Breakers
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.health import HealthMonitor
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.predictions import Predictions
from kvsync.index import PrefixIndex
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.sources.status import SourceStatus

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """A view of the gateway's parts."""

    config: GatewayConfig
    manager: EventManager
    index: PrefixIndex
    health: HealthMonitor
    engines: Engines
    load: RunningRequests
    predictions: Predictions
    retries: RetryBudget
    breakers: Breakers
    snapshots: Counter[str]

    def sources(self) -> list[SourceStatus]:
        """Return what is known of every source, its predictions included."""
        return [self.predictions.judged(status) for status in self.manager.statuses()]

    def unnamed(self, pod: Pod) -> list[int]:
        """Return the adapters that events name by numbers of which the pod's list does not tell the names."""
        cards, seen = self.health.of(pod).cards, self.index.lora_ids(*pod.sources)
        return [] if not cards or adapter_numbers(cards, seen) else sorted(seen)

    def to_json(self) -> Json:
        """Return everything but the blocks."""
        sources: dict[str, list[Json]] = {}
        for status in self.sources():
            sources.setdefault(status.source.pod, []).append(self._source(status))
        return {
            "version": kvsync.__version__,
            "core": core.chosen(),
            "sync_enabled": self.config.sync_enabled,
            "warnings": list(self.config.warnings),
            "discovery": {"pods": len(self.manager.pods), "problem": self.manager.problem},
            "index": {
                "blocks": self.index.blocks_total,
                "sources": len(self.index.sources()),
                "bytes_estimated": self.index.bytes_estimated,
            },
            "pods": [{**self._pod(pod), "sources": sources.get(pod.name, [])} for pod in self.manager.pods],
        }

    def _pod(self, pod: Pod) -> Json:
        health = self.health.of(pod)
        return {
            "name": pod.name,
            "model": pod.model,
            "host": pod.host,
            "ready": pod.ready,
            "healthy": health.healthy,
            "asleep": health.asleep,
            "problem": health.problem,
            "breaker": self.breakers.state(pod.name).value,
            "running": self.load.of(pod.name),
            "loras": sorted({*pod.loras, *(card.id for card in health.cards if card.parent)}),
            "unnamed_loras": self.unnamed(pod),
            "predictions": self.predictions.of(pod).to_json(),
        }

    def _source(self, status: SourceStatus) -> Json:
        return {
            "rank": status.source.rank,
            "endpoint": status.endpoint,
            "replay_endpoint": status.replay_endpoint,
            "state": status.state.value,
            "reason": status.reason,
            "last": status.last,
            "live": status.live,
            "lag_batches": status.lag_batches,
            "behind_s": status.behind_s,
            "last_event_age_s": status.last_event_age_s,
            "connected": status.connected,
            "blocks": self.index.size(status.source),
            "block_size": self.index.block_size_of(status.source) or None,
            "engine_blocks": self.engines.blocks(status.source),
            "orphans": self.index.orphans(status.source),
            "left_out": dict(self.manager.left_out(status.source)),
            "digest": self._digest(status.source),
            "counters": asdict(status.counters),
            "errors": dict(status.errors),
        }

    def _digest(self, source: Source) -> Json:
        digest = self.index.digest(source)
        return {"blocks": digest.blocks, "xor": f"{digest.xor:016x}"}

    async def dump(self, pod: str | None) -> AsyncIterator[str]:
        """Write the index as JSON, one source at a time, each as of one moment.

        Other requests are served in between, since a full index is large: 100 bytes a block.
        """
        separator = '{"sources": ['
        for source in [status.source for status in self.sources()]:
            now = next((status for status in self.sources() if status.source == source), None)
            if now is not None and pod in (None, source.pod):
                yield separator + json.dumps(self._holding(now))
                separator = ", "
                await asyncio.sleep(0)
        yield ("" if separator == ", " else separator) + "]}"

    def _holding(self, status: SourceStatus) -> Json:
        source = status.source
        return {
            "pod": source.pod,
            "model": source.model,
            "rank": source.rank,
            "state": status.state.value,
            "last": status.last,
            "digest": self._digest(source),
            "blocks": [
                {"engine": f"{engine:016x}", "own": f"{own:016x}", "lora": lora}
                for engine, (lora, own) in self.index.blocks(source).items()
            ],
        }
