"""The gateway's log: a line for each request, and all of it as JSON where that is wanted."""

import json
import logging
from datetime import UTC, datetime

from kvsync.gateway.operation.passage import Passage
from kvsync.settings.operation import TEXT_LINE, LoggingConfig

log = logging.getLogger("kvsync.access")

Fields = dict[str, str | int | float]


def fields(passage: Passage) -> Fields:
    """Return what is known of a request, in the order of a line; times in milliseconds."""
    named: dict[str, str | int | float | None] = {
        "method": passage.method,
        "path": passage.path,
        "status": passage.status,
        "outcome": passage.outcome if passage.outcome != str(passage.status) else "",
        "client": passage.client,
        "model": passage.model,
        "pod": passage.pod,
        "selection": passage.selection if passage.model else "",
        "policy": passage.policy,
        "source_state": passage.source_state,
        "matched_blocks": passage.matched_blocks,
        "prompt_tokens": passage.prompt_tokens,
        "predicted_cached_tokens": passage.predicted,
        "reported_cached_tokens": passage.reported,
        "attempts": passage.attempts if passage.attempts > 1 else None,
        "tokenize_ms": _ms(passage.tokenize_s),
        "first_byte_ms": _ms(passage.first_byte_s),
        "duration_ms": _ms(passage.duration_s),
        "request_id": passage.request_id,
    }
    return {name: value for name, value in named.items() if value not in (None, "")}


def is_noted(passage: Passage) -> bool:
    """Say whether a request has a line: those that were passed on, or refused; what is looked up has none."""
    is_refused = 400 <= passage.status < 500
    is_passed_on = passage.method == "POST" and not passage.path.startswith("/index/")
    return bool(passage.pod) or is_passed_on or is_refused


def write(passage: Passage) -> None:
    """Write the line of a request."""
    if log.isEnabledFor(logging.INFO):
        known = fields(passage)
        method, path, status = known.pop("method"), known.pop("path"), known.pop("status")
        said = " ".join(f"{name}={value}" for name, value in known.items())
        shown = {"method": method, "path": path, "status": status, **known}
        log.info("%s %s %s %s", method, path, status, said, extra={"fields": shown})


class JsonLines(logging.Formatter):
    """Each record as one JSON object: time (UTC), level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        known = getattr(record, "fields", None)
        line |= known if isinstance(known, dict) else {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextLines(logging.Formatter):
    """Each record as one line: what clients and engines wrote cannot begin another one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, with what does not print escaped."""
        line = super().formatMessage(record)
        if line.isprintable():
            return line
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def configure(config: LoggingConfig) -> None:
    """Give the log of this process the format that is set."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines() if config.format == "json" else TextLines(TEXT_LINE))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
