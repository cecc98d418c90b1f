"""What the gateway knows, for people and for tests: every source's state, and the index itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace

import kvsync
from kvsync import core
from kvsync.config import GatewayConfig
from kvsync.gateway.catalog import adapter_numbers
from kvsync.gateway.engines import Engines
from kvsync.gateway.failover.breaker import Breakers
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.health import HealthMonitor
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.predictions import Predictions
from kvsync.gateway.siblings import ALONE, Worker
from kvsync.indexer.values import Indexer, SourceFacts, digest_json
from kvsync.pods import Pod
from kvsync.sources.status import SourceStatus

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """A view of the gateway's parts."""

    config: GatewayConfig
    indexer: Indexer
    health: HealthMonitor
    engines: Engines
    load: RunningRequests
    predictions: Predictions
    retries: RetryBudget
    breakers: Breakers
    worker: Worker = ALONE

    def sources(self) -> list[SourceStatus]:
        """Return what is known of every source, its predictions included."""
        return [facts.status for facts in self._facts()]

    def _facts(self) -> list[SourceFacts]:
        return [self._judged(facts) for facts in self.indexer.picture().sources]

    def _judged(self, facts: SourceFacts) -> SourceFacts:
        return replace(facts, status=self.predictions.judged(facts.status))

    def unnamed(self, pod: Pod) -> list[int]:
        """Return the adapters that events name by numbers of which the pod's list does not tell the names."""
        cards, seen = self.health.of(pod).cards, self.indexer.lora_ids(pod)
        return [] if not cards or adapter_numbers(cards, seen) else sorted(seen)

    def to_json(self) -> Json:
        """Return everything but the blocks."""
        sources: dict[str, list[Json]] = {}
        for facts in self._facts():
            sources.setdefault(facts.status.source.pod, []).append(self._source(facts))
        known, pods = self.indexer.picture(), self.indexer.pods
        return {
            "version": kvsync.__version__,
            "core": core.chosen(),
            "worker": f"{self.worker.number} of {self.worker.of}",
            "sync_enabled": self.config.sync_enabled,
            "warnings": list(self.config.warnings),
            "discovery": {"pods": len(pods), "problem": self.indexer.discovery_problem},
            "indexer": {
                "mode": self.config.indexer.mode,
                "problem": self.indexer.problem,
                "restarts": self.indexer.restarts,
                "run": known.version.run,
                "changes": known.version.changes,
            },
            "index": {
                "blocks": known.blocks_total,
                "sources": known.holders,
                "bytes_estimated": known.bytes_estimated,
            },
            "pods": [{**self._pod(pod), "sources": sources.get(pod.name, [])} for pod in pods],
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

    def _source(self, facts: SourceFacts) -> Json:
        status = facts.status
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
            "blocks": facts.blocks,
            "block_size": facts.block_size or None,
            "engine_blocks": self.engines.blocks(status.source),
            "orphans": facts.orphans,
            "left_out": dict(facts.left_out),
            "digest": digest_json(facts.digest),
            "counters": asdict(status.counters),
            "errors": dict(status.errors),
        }

    async def dump(self, pod: str | None) -> AsyncIterator[str]:
        """Write the index as JSON, one source at a time, each as of one moment.

        Other requests are served in between, since a full index is large: 100 bytes a block.
        """
        separator = '{"sources": ['
        for source in [status.source for status in self.sources() if pod in (None, status.source.pod)]:
            if dump := await self.indexer.dump(source):
                judged = dump._replace(facts=self._judged(dump.facts))
                yield separator + json.dumps(judged.to_json())
                separator = ", "
                await asyncio.sleep(0)
        yield ("" if separator == ", " else separator) + "]}"
