"""What an engine really sends, as JSON lines: each message once, with all its fields, known or not.

A message is a line of type Message, then one for each of its events:

    {"type": "Message", "sequence": 7, "via": "live", "frames": ["topic 'kv'", "sequence", "payload"], ...}
    {"type": "BlockStored", "sequence": 7, "block_hashes": ["00000000000003e9"], ...}

Fields that are known by position have their names, surplus ones are "field 12". Values are as they came,
bytes and hashes in hexadecimal. What goes wrong is on standard error.
"""

import asyncio
import json
import logging
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TextIO

from xxhash import xxh3_64_intdigest

from kvsync.codec import END_SEQUENCE, decode, unpack
from kvsync.config import SubscriberOptions
from kvsync.errors import ConfigError, DecodeError
from kvsync.events import EventBatch, Source
from kvsync.pods import engine_host
from kvsync.sequence import WINDOW
from kvsync.subscriber import Subscriber
from kvsync.wire import CLEARED_FIELDS, REMOVED_FIELDS, STORED_FIELDS, UINT64

log = logging.getLogger(__name__)

Json = dict[str, object]

NOTHING_AFTER_S = 5.0
"""After this time without a message it is said that there was none."""

_FIELDS = {
    "BlockStored": STORED_FIELDS,
    "BlockRemoved": REMOVED_FIELDS,
    "AllBlocksCleared": CLEARED_FIELDS,
}

_BATCH_FIELDS = ("ts", "events", "data_parallel_rank")

_HASHES = frozenset(("block_hashes", "parent_block_hash"))


async def follow(endpoint: str, replay_endpoint: str | None, out: TextIO) -> None:
    """Print the messages of one publisher until SIGINT or SIGTERM. Raises ConfigError for a bad endpoint."""
    for each in filter(None, (endpoint, replay_endpoint)):
        check(each)
    printer = _Printer(out)
    subscriber = Subscriber(
        Source(pod="engine", model=""),
        endpoint=endpoint,
        replay_endpoint=replay_endpoint,
        sink=printer,
        tap=printer.tap,
        options=SubscriberOptions(log_interval_s=0.0),
    )
    loop = asyncio.get_running_loop()
    following = loop.create_task(subscriber.run())
    loop.call_later(NOTHING_AFTER_S, _say_if_nothing_came, printer, subscriber)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, following.cancel)
    with suppress(asyncio.CancelledError):
        await following


def check(endpoint: str) -> None:
    """Raise ConfigError unless this is where an engine may publish, or replay."""
    scheme, _, address = endpoint.rpartition("://")
    host, _, port = address.rpartition(":")
    if scheme != "tcp" or not host or not port.isdecimal():
        wanted = f"tcp://{host or address}:{port if host and port.isdecimal() else 5557}"
        raise ConfigError(endpoint, [f"is no endpoint of an engine: give it as {wanted}"])
    try:
        engine_host(host)
    except ValueError as exc:
        raise ConfigError(endpoint, [str(exc)]) from exc


def _say_if_nothing_came(printer: "_Printer", subscriber: Subscriber) -> None:
    if not printer.messages:
        status = subscriber.status
        cause = status.reason or "connected, and the engine has published nothing since it started"
        log.warning("nothing came for %g s: %s: %s", NOTHING_AFTER_S, status.state.value, cause)


class _Printer:
    """A sink and a tap that write what they are given."""

    def __init__(self, out: TextIO) -> None:
        self.messages = 0
        self._out = out
        self._seen: dict[tuple[bytes, int], None] = {}

    def tap(self, frames: Sequence[bytes], *, replayed: bool) -> None:
        """Print a message, unless it was printed already: replays bring the last ones again and again."""
        *_, number, payload = frames
        key = number, xxh3_64_intdigest(payload)
        if number == END_SEQUENCE or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > 2 * WINDOW:
            del self._seen[next(iter(self._seen))]
        self.messages += 1
        for line in lines_of(frames, replayed=replayed):
            self._print(line)

    def apply(self, source: Source, batch: EventBatch) -> None:
        """Do nothing: it was printed as it came."""

    def forget(self, source: Source, reason: str) -> None:
        """Print that history was lost."""
        self._print({"type": "Forget", "reason": reason})

    def _print(self, line: Json) -> None:
        print(json.dumps(line, default=repr), file=self._out, flush=True)


def lines_of(frames: Sequence[bytes], *, replayed: bool) -> list[Json]:
    """Return a message and its events, ready for JSON."""
    *_, number, payload = frames
    sequence = int.from_bytes(number, "big")
    message: Json = {
        "type": "Message",
        "sequence": sequence,
        "via": "replay" if replayed else "live",
        "frames": layout(frames, replayed=replayed),
        "bytes": len(payload),
    }
    try:
        batch, raw = decode(payload), unpack(payload)
    except DecodeError as error:
        return [{**message, "problem": str(error), "payload": payload[:64].hex()}]
    fields = {} if _is_bare(raw) else _named(raw, _BATCH_FIELDS)
    events = fields.pop("events", None)
    if not isinstance(events, tuple):
        events = (raw,)
    problems = [skipped.detail for skipped in batch.skipped]
    message |= {name: _shown(value) for name, value in fields.items()} | {"events": len(events)}
    if problems:
        message["problems"] = problems
    return [message, *({"type": "", "sequence": sequence} | fields_of(event) for event in events)]


def _is_bare(raw: object) -> bool:
    """Whether a payload is an event without a batch around it."""
    return "type" in raw if isinstance(raw, Mapping) else isinstance(raw, tuple) and isinstance(raw[0], str)


def layout(frames: Sequence[bytes], *, replayed: bool) -> list[str]:
    """Say what each frame of a message is."""
    topics = [f"topic {topic.decode(errors='backslashreplace')!r}" for topic in frames[int(replayed) : -2]]
    return [*(["empty"] if replayed else []), *topics, "sequence", "payload"]


def fields_of(event: object) -> Json:
    """Return all fields of an event as msgpack read it, ready for JSON."""
    tag: object = None
    if isinstance(event, Mapping):
        tag = event.get("type")
    elif isinstance(event, tuple) and event:
        tag = event[0]
    names = _FIELDS.get(tag, ("type",)) if isinstance(tag, str) else ("type",)
    return {name: _shown(value, is_hash=name in _HASHES) for name, value in _named(event, names).items()}


def _named(values: object, names: Sequence[str]) -> Json:
    """Return a map as it is, and an array with the names of its positions."""
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    if not isinstance(values, tuple):
        return {"type": repr(values)}
    surplus = [f"field {position}" for position in range(len(names), len(values))]
    return dict(zip((*names, *surplus), values, strict=False))


def _shown(value: object, *, is_hash: bool = False) -> object:
    if isinstance(value, tuple):
        return [_shown(one, is_hash=is_hash) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _shown(one) for name, one in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    return f"{value & UINT64:016x}" if is_hash and type(value) is int else value
