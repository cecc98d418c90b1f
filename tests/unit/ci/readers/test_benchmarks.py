"""Benchmarks of other tools as measurements, with what is better, and their median."""

import json

import pytest

from kvsync.ci.readers.benchmarks.action_benchmark import read_action_benchmark
from kvsync.ci.readers.benchmarks.go_bench import read_go_bench
from kvsync.ci.readers.benchmarks.hyperfine import read_hyperfine
from kvsync.ci.readers.benchmarks.pytest_benchmark import read_pytest_benchmark
from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.reading import ResultFile, result_of
from kvsync.testing.results.outcome import Outcome
from tests.unit.ci.readers.recordings import recorded


def values(read: ResultFile) -> dict[tuple[str, str], tuple[object, str, int, str]]:
    """Return value, unit, samples and direction of each metric."""
    return {
        (each.name, each.metric): (each.value, each.unit, each.samples, each.better)
        for each in read.measurements
    }


def test_go_bench() -> None:
    """Lines of one benchmark are its samples; units say what is better; processors are not in the name."""
    found = values(read_go_bench(recorded("go-bench.txt")))

    add, grow = "example.com/stock/count::BenchmarkAdd", "example.com/stock/count::BenchmarkGrow/n=8"
    assert found == {
        (add, "time"): (pytest.approx(2.81), "ns/op", 2, "lower"),
        (add, "allocated"): (0, "B/op", 2, "lower"),
        (add, "allocations"): (0, "allocs/op", 2, "lower"),
        (grow, "time"): (pytest.approx(41.405), "ns/op", 2, "lower"),
        (grow, "throughput"): (pytest.approx(195.1), "MB/s", 2, "higher"),
        (grow, "hops/op"): (3, "hops/op", 2, "lower"),
        (grow, "allocated"): (0, "B/op", 2, "lower"),
        (grow, "allocations"): (0, "allocs/op", 2, "lower"),
    }


def test_go_bench_with_several_numbers_of_processors() -> None:
    """With `-cpu 1,2` the number tells the benchmarks apart."""
    read = read_go_bench("BenchmarkA \t 9\t 1 ns/op\nBenchmarkA-2 \t 9\t 2 ns/op\nok  \tp\t1s\n")

    assert [each.name for each in read.measurements] == ["BenchmarkA", "BenchmarkA-2"]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("BenchmarkA-2 \t 9\t 1 ns/op\nPASS\nok  \tp\t1s\n", Outcome.PASSED),
        ("BenchmarkA-2 \t 9\t 1 ns/op\n", Outcome.UNKNOWN),
        ("BenchmarkA-2 \t 9\t 1 ns/op\n--- FAIL: BenchmarkB\nFAIL\tp\t1s\n", Outcome.FAILED),
    ],
)
def test_go_bench_is_whole_or_not(text: str, outcome: Outcome) -> None:
    """The line of the package says that it ended, and how."""
    assert result_of("b", [("b", read_go_bench(text))]).outcome is outcome


def test_pytest_benchmark() -> None:
    """The median of the rounds, in seconds, by the test's node id."""
    found = values(read_pytest_benchmark(recorded("pytest-benchmark.json")))

    assert found["tests/test_speed.py::test_paired", "time"] == (
        pytest.approx(1.969e-7, rel=0.01),
        "s",
        20,
        "lower",
    )


def test_pytest_benchmark_with_parameters() -> None:
    """Parameters are conditions of a measurement, not part of its name."""
    stats = {"median": 0.5, "rounds": 3}
    entry = {"fullname": "t.py::test_a[3-x]", "params": {"size": 3, "kind": "x", "odd": []}, "stats": stats}
    (found,) = read_pytest_benchmark(json.dumps({"benchmarks": [entry]})).measurements

    assert (found.name, found.parameters) == ("t.py::test_a", {"size": 3, "kind": "x"})


def test_hyperfine_of_both_versions() -> None:
    """Version 2 has summaries, version 1 the times themselves."""
    old = {"results": [{"command": "a", "mean": 9, "times": [1.0, 2.0, 6.0], "exit_codes": [0, 0, 0]}]}

    assert values(read_hyperfine(json.dumps(old))) == {("a", "time"): (2.0, "s", 3, "lower")}
    new = values(read_hyperfine(recorded("hyperfine-2.json")))
    assert new["sleep 0.01", "time"] == (pytest.approx(0.011, abs=0.001), "s", 5, "lower")
    assert new["true", "peak memory"] == (3112960, "B", 5, "lower")


def test_a_command_that_failed_was_not_measured() -> None:
    """A failing command may be very quick."""
    read = read_hyperfine(recorded("hyperfine-2-failing.json"))
    old = {"results": [{"command": "a", "mean": 1, "exit_codes": [0, None]}]}

    assert (read.checks[0].kind, list(read.measurements)) == ("void", [])
    assert read_hyperfine(json.dumps(old)).checks[0].kind == "void"


def test_action_benchmark() -> None:
    """The direction is that of the format."""
    text = json.dumps([{"name": "qps", "unit": "1/s", "value": 7, "extra": "x"}])

    assert values(read_action_benchmark(text, "higher")) == {("qps", "value"): (7, "1/s", 1, "higher")}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"7"x', "null", "[]"])
def test_a_value_that_is_none_is_damaged(value: str) -> None:
    """Numbers that compare with nothing would hide every change after them."""
    with pytest.raises(Damaged):
        read_action_benchmark(f'[{{"name": "a", "unit": "s", "value": {value}}}]', "lower")
