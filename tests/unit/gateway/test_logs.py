"""Lines of the log."""

import logging

import pytest

from kvsync.gateway.operation.logs import TextLines


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("POST /v1/a\n2026-01-01 INFO x: y 200", "POST /v1/a\\n2026-01-01 INFO x: y 200"),
        ("\x1b[2J\u2028\udc80", "\\x1b[2J\\u2028\\udc80"),
        ("pods of Zoë", "pods of Zoë"),
    ],
    ids=["another line", "a terminal's", "plain"],
)
def test_a_record_is_one_line_whoever_wrote_it(said: str, line: str) -> None:
    """Paths and what engines announce are written by others, who cannot make up lines."""
    record = logging.LogRecord("kvsync.access", logging.INFO, "", 0, "%s", (said,), None)

    assert TextLines("%(levelname)s: %(message)s").format(record) == f"INFO: {line}"
