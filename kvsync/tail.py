"""An engine's events as JSON lines, to see what it really sends."""

import asyncio
import json
import signal
from contextlib import suppress
from dataclasses import asdict
from typing import TextIO

from kvsync.errors import ConfigError
from kvsync.events import Event, EventBatch, Skipped, Source
from kvsync.pods import engine_host
from kvsync.subscriber import Subscriber

_HASHES = frozenset(("block_hashes", "parent_block_hash"))


async def follow(endpoint: str, replay_endpoint: str | None, out: TextIO) -> None:
    """Print the events of one publisher until SIGINT or SIGTERM. Raises ConfigError for a bad endpoint."""
    try:
        engine_host(endpoint.removeprefix("tcp://").rpartition(":")[0])
    except ValueError as exc:
        raise ConfigError(endpoint, [str(exc)]) from exc
    subscriber = Subscriber(
        Source(pod=endpoint, model=""),
        endpoint=endpoint,
        replay_endpoint=replay_endpoint,
        sink=_Printer(out),
    )
    loop = asyncio.get_running_loop()
    following = loop.create_task(subscriber.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, following.cancel)
    with suppress(asyncio.CancelledError):
        await following


class _Printer:
    """A sink that writes what it is given."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def apply(self, source: Source, batch: EventBatch) -> None:
        for event in (*batch.events, *batch.skipped):
            self._print({"ts": batch.ts, "rank": batch.rank, **fields_of(event)})

    def forget(self, source: Source, reason: str) -> None:
        self._print({"type": "Forget", "reason": reason})

    def _print(self, line: dict[str, object]) -> None:
        print(json.dumps(line, default=repr), file=self._out, flush=True)


def fields_of(event: Event | Skipped) -> dict[str, object]:
    """Return an event's fields ready for JSON: hashes as 16 hexadecimal digits, without empty fields."""
    known = {name: value for name, value in asdict(event).items() if value is not None}
    hashes = {name: _hex(known[name]) for name in _HASHES & known.keys()}
    return {"type": type(event).__name__, **known, **hashes}


def _hex(value: object) -> object:
    return [_hex(one) for one in value] if isinstance(value, tuple | list) else f"{value:016x}"
