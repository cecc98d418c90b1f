"""Usage that a client did not ask for: asked for in its name, and left out of its answer again. Pure.

Engines end a stream with an event that holds the usage and no choices, if asked to
(`stream_options.include_usage`). Without it nothing says how many tokens of a stream were cached.
"""

import json
import re

_ENDS = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")
"""Where an event of a stream ends."""

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# Neither can match generated text: within a JSON string the quotes have backslashes before them.


def with_usage(body: bytes) -> bytes:
    """Return the body of a request for a stream so that the stream ends with its usage."""
    request = json.loads(body)
    options = request.get("stream_options")
    given = options if isinstance(options, dict) else {}
    request["stream_options"] = {**given, "include_usage": True}
    return json.dumps(request).encode()


class WithoutUsage:
    """Takes the event with the usage out of a stream. Every other event is passed on as it came."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be sent now that this chunk is here: whole events."""
        *events, self._rest = _ENDS.split(self._rest + chunk)
        return b"".join(event for event in events if not _is_usage(event))

    def end(self) -> bytes:
        """Return what came after the last whole event."""
        rest, self._rest = self._rest, b""
        return rest


def _is_usage(event: bytes) -> bool:
    return bool(_NO_CHOICES.search(event) and _USAGE.search(event))
