"""What k6 and Locust say of the requests that they sent: recorded from k6 1.1.0 and Locust 2.47.0."""

import json
from pathlib import Path

import pytest

from kvsync.ci.stages.load.tools import command_of, k6_load, locust_load
from kvsync.errors import ConfigError
from kvsync.testing.load.http.judgement import judged
from kvsync.testing.load.http.thresholds import parse

RECORDED = Path(__file__).parent / "recorded"
K6 = (RECORDED / "k6-1.1.0.jsonl").read_text().splitlines()
LOCUST = (RECORDED / "locust-2.47.0.json").read_text()


def test_the_samples_of_k6() -> None:
    """By method and name; an address is its path, and a status that was not expected is a failure."""
    load = k6_load(K6)

    found = {name: (each.count, each.failed) for name, each in load.tallies.items()}
    assert found == {"GET /healthz": (2, 0), "POST write": (2, 0), "GET /bad": (2, 2)}
    assert load.tallies["GET /healthz"].quantile(0.5) == pytest.approx(0.004636717, rel=1e-3)
    assert load.tallies["GET /bad"].errors == {"500": 2}
    assert 0 < load.seconds < 3


def test_iterations_that_k6_dropped_were_not_offered() -> None:
    """They are what left late is elsewhere."""
    dropped = {
        "metric": "dropped_iterations",
        "type": "Point",
        "data": {"time": "x", "value": 30, "tags": None},
    }

    offered = k6_load([*K6, json.dumps(dropped)]).offered()

    (check,) = judged(offered, [parse("errors of /healthz < 90 %")])
    assert check.kind == "inconclusive"
    assert "30 were lost" in check.detail


@pytest.mark.parametrize("nanoseconds", ["18.7Z", "18Z", "18.702269413+02:00", "18.702269Z"])
def test_moments_with_any_number_of_digits(nanoseconds: str) -> None:
    """Python reads six of them."""
    line = K6[1].replace("18.702269413Z", nanoseconds)

    assert "18.702269413Z" in K6[1]
    assert k6_load([line]).tallies["GET /healthz"].count == 1


def test_a_file_of_k6_that_was_cut_off_is_read_up_to_there() -> None:
    """Its last line alone may be torn."""
    torn = K6[-1][:40]

    assert sum(each.count for each in k6_load([*K6, torn]).tallies.values()) == 6
    with pytest.raises(ConfigError, match="line 2 is not a sample"):
        k6_load([K6[0], "no JSON", *K6])
    with pytest.raises(ConfigError, match="it has no sample"):
        k6_load(["<xml/>"])


def test_the_statistics_of_locust() -> None:
    """The latencies of failures are not told apart: as many of the shortest are left out."""
    load = locust_load(LOCUST)

    healthy, bad = load.tallies["GET /healthz"], load.tallies["GET /bad"]
    assert (healthy.count, healthy.failed, bad.count, bad.failed) == (13, 0, 9, 9)
    assert healthy.quantile(1.0) == pytest.approx(0.044, rel=1e-3)
    assert load.seconds == pytest.approx(1.409, abs=0.01)


def test_the_shortest_latencies_count_as_those_of_failures() -> None:
    """Nothing looks quicker than it can have been."""
    (stats,) = [each for each in json.loads(LOCUST) if each["name"] == "/healthz"]

    found = locust_load(json.dumps([{**stats, "num_failures": 3}])).tallies["GET /healthz"]

    assert (found.count, found.failed) == (13, 3)
    assert found.quantile(0.01) == pytest.approx(0.012, rel=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}x",
        '[{"name": "x"}]',
        '[{"num_requests": 1, "num_failures": 0, "method": "GET", "name": "x", "response_times": {"-5": 1}}]',
        "[1]",
    ],
)
def test_statistics_of_another_form_are_refused(text: str) -> None:
    """They are no evidence."""
    with pytest.raises(ConfigError, match="the statistics of Locust"):
        locust_load(text)


def test_thresholds_name_requests_with_or_without_a_method() -> None:
    """Both are what the tools show."""
    offered = k6_load(K6).offered()

    checks = judged(offered, [parse("errors of write < 1 %"), parse('errors of "POST write" < 1 %')])
    assert {each.properties["requests"] for each in checks} == {"2"}


def test_command_lines() -> None:
    """The target is a variable of k6, and the host of Locust."""
    assert command_of("k6", "/bin/k6", "a.js", "http://x", "/out/k6.json", ["-q"]) == [
        *("/bin/k6", "run", "--quiet", "--no-usage-report", "-e", "TARGET=http://x"),
        *("--out", "json=/out/k6.json", "-q", "a.js"),
    ]
    assert command_of("locust", "l", "a.py", "", "/out/locust.json", ["--users=3"]) == [
        *("l", "-f", "a.py", "--headless", "--only-summary", "--json-file", "/out/locust", "--users=3"),
    ]
