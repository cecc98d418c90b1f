"""A simulated pod: an engine whose events go out on a publisher, and the record of what went out."""

import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import BinaryIO

from kvsync.codec import Encoding, encode
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, EventBatch
from kvsync.publisher import Frames, Publisher, ReplayLayout
from kvsync.simulator.blocks import BlockCache
from kvsync.simulator.channel import FaultyChannel
from kvsync.simulator.engine import Engine
from kvsync.simulator.options import SimulatorOptions
from kvsync.simulator.scheduler import Scheduler


class SimulatedPod:
    """Engine, publisher and channel of one pod.

    Everything happens in one event loop, and a cache never changes without its batch being published in the
    same turn: `blocks` is always consistent, but for a /reset_prefix_cache that no step followed yet. `epoch`
    tells incarnations of the engine apart.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        later: Callable[[float, Callable[[], None]], object],
        sleep: Callable[[float], Awaitable[None]],
        history: BinaryIO | None = None,
    ) -> None:
        self.options = options
        self.channel = FaultyChannel(
            random.Random(options.seed),  # noqa: S311 - repeatable on purpose
            send=self._send,
            later=later,
            clock=time.monotonic,
        )
        replay = options.endpoint(options.replay_port) if options.replay_port else None
        self.publisher = Publisher(
            endpoint=options.endpoint(options.event_port),
            replay_endpoint=replay,
            topic=options.topic,
            buffer_steps=options.buffer_steps,
            hwm=options.hwm,
            replay_hwm=options.replay_hwm,
            replay_layout=ReplayLayout(options.replay_layout),
            channel=self.channel,
        )
        self.engine = Engine(
            self._scheduler,
            announce=self._announce,
            latency=options.latency,
            seed=options.seed,
            clock=time.monotonic,
            sleep=sleep,
        )
        self.epoch = time.time_ns()
        self._history = history

    def restart(self) -> None:
        """Crash and come back behind the same addresses: empty, numbering from 0, announcing nothing."""
        self.engine.restart()
        self.channel.lose()
        self.publisher.restart()
        self.epoch = time.time_ns()

    def wall(self) -> float:
        """The engine's clock, in seconds since 1970."""
        return time.time() + self.channel.faults.clock_offset_s

    def blocks(self) -> dict[str, object]:
        """The block table, and the sequence number of the last batch that led to it (-1: none)."""
        cache = self.engine.scheduler.cache
        return {
            "pod": self.options.name,
            "model": self.options.model,
            "epoch": self.epoch,
            "seq": self.publisher.next_sequence - 1,
            "block_size": cache.block_size,
            "capacity": cache.capacity,
            "blocks": [
                {
                    "hash": _hex(block.hash),
                    "parent": None if block.parent is None else _hex(block.parent),
                    "token_ids": block.token_ids,
                    "lora": block.lora,
                    "salt": block.salt,
                    "copies": block.copies,
                }
                for block in cache.table()
            ],
        }

    def _scheduler(self) -> Scheduler:
        options = self.options
        cache = BlockCache(
            options.capacity,
            options.block_size,
            options.seed,
            recomputes_last_block=options.speculative == "eagle",
            sliding_window=options.sliding_window,
        )
        return Scheduler(
            cache, max_num_seqs=options.max_num_seqs, max_batched_tokens=options.max_batched_tokens
        )

    def _send(self, message: Frames) -> None:
        self.publisher.send_now(message)

    def _announce(self, events: Sequence[Event]) -> None:
        told = tuple([self._as_told(event) for event in events])
        batch = EventBatch(ts=self.wall(), events=told, rank=self.options.dp_rank)
        if self._history:
            self._history.write(json.dumps(self._record(batch)).encode() + b"\n")
        self.publisher.publish(
            encode(
                batch,
                batch_as=Encoding(self.options.batch_as),
                events_as=Encoding(self.options.events_as),
                hash_width=self.options.hash_width,
            )
        )

    def _as_told(self, event: Event) -> Event:
        """What is left of an event without the fields that came later than the release that is played."""
        if not isinstance(event, BlockStored):
            return event
        return replace(
            event,
            lora_name=event.lora_name if self.options.loras_as == "name" else None,
            extra_keys=event.extra_keys if self.options.extra_keys == "sent" else None,
        )

    def _record(self, batch: EventBatch) -> dict[str, object]:
        return {
            "f": "publish",
            "type": "info",
            "pod": self.options.name,
            "model": self.options.model,
            "seq": self.publisher.next_sequence,
            "epoch": self.epoch,
            "t_mono": time.monotonic(),
            "wall": time.time(),
            "stored": _hashes(batch, BlockStored),
            "removed": _hashes(batch, BlockRemoved),
            "cleared": any(isinstance(event, AllBlocksCleared) for event in batch.events),
        }


def _hashes(batch: EventBatch, kind: type[BlockStored] | type[BlockRemoved]) -> list[str]:
    return [_hex(one) for event in batch.events if isinstance(event, kind) for one in event.block_hashes]


def _hex(value: int) -> str:
    return f"{value:016x}"
