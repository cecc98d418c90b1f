"""Counters, and logs."""

import io
import json
import logging

import pytest

from registry.observability import Tally, log_as_json
from registry.observability.logs import JsonFormatter


def test_hit_rates_are_of_what_a_level_could_answer() -> None:
    """A failure is neither a hit nor a miss."""
    tally = Tally()
    for result in ("hit", "hit", "hit", "miss"):
        tally.asked("redis", result)
    tally.asked("redis", "failure")
    assert tally.levels()["redis"] == {"hit": 3, "miss": 1, "failure": 1, "hit_rate": 0.75}
    assert tally.levels()["s3"] == {"hit": 0, "miss": 0, "failure": 0, "hit_rate": 0}


def test_everything_is_exposed_for_prometheus() -> None:
    """With names and labels that dashboards rely on."""
    tally = Tally()
    tally.asked("memory", "hit")
    tally.postponed()
    tally.answered("GET /subjects", 200, 0.003)
    lines = tally.exposition({"redis": "open", "s3": "half-open"}).decode().splitlines()
    assert 'registry_level_requests_total{level="memory",result="hit"} 1.0' in lines
    assert "registry_postponed_writes_total 1.0" in lines
    assert 'registry_request_seconds_bucket{le="0.005",route="GET /subjects",status="200"} 1.0' in lines
    assert 'registry_breaker_state{level="redis"} 2.0' in lines
    assert 'registry_breaker_state{level="s3"} 1.0' in lines


def test_two_tallies_do_not_meet() -> None:
    """One process can have several registries."""
    first, second = Tally(), Tally()
    first.asked("s3", "hit")
    assert second.levels()["s3"]["hit"] == 0


def test_a_line_of_the_log_is_an_object() -> None:
    """With the traceback, where there is one."""
    stream = io.StringIO()
    before = logging.root.handlers[:], logging.root.level
    try:
        log_as_json("INFO", stream)
        logging.getLogger("test").debug("not this")
        logging.getLogger("test").info("%s said", "it")
        try:
            raise LookupError("gone")
        except LookupError:
            logging.getLogger("test").exception("failed")
    finally:
        logging.root.handlers[:], logging.root.level = before
    said, failed = map(json.loads, stream.getvalue().splitlines())
    assert (said["level"], said["logger"], said["message"]) == ("info", "test", "it said")
    assert failed["traceback"].endswith("LookupError: gone")


@pytest.mark.parametrize("message", ["plain", "two\nlines", 'a "quote"'])
def test_messages_stay_on_one_line(message: str) -> None:
    """Whatever is in them."""
    record = logging.LogRecord("test", logging.INFO, "", 0, message, None, None)
    written = JsonFormatter().format(record)
    assert "\n" not in written
    assert json.loads(written)["message"] == message
