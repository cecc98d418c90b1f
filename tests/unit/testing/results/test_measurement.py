"""Measurements: goals, quantiles, and the file they are kept in."""

import json
from pathlib import Path
from typing import Literal

import pytest

from kvsync.testing.results.measurement import (
    Measurement,
    Measurements,
    machine_facts,
    quantile,
    quantiles,
    read_measurements,
)


def measurement(
    value: float, *, goal: float | None, better: Literal["lower", "higher"] = "lower", samples: int = 10
) -> Measurement:
    """Return a measurement of which only what matters here is chosen."""
    return Measurement(
        name="routing", metric="p99", value=value, unit="ms", samples=samples, better=better, goal=goal
    )


@pytest.mark.parametrize(
    ("value", "better", "reached"),
    [
        (4.9, "lower", True),
        (5.0, "lower", True),
        (5.1, "lower", False),
        (4.9, "higher", False),
        (5.0, "higher", True),
    ],
)
def test_goal(value: float, better: Literal["lower", "higher"], reached: bool) -> None:
    """A goal is reached from the better side, and exactly at its value."""
    assert measurement(value, better=better, goal=5.0).reaches_goal is reached


@pytest.mark.parametrize(
    "each",
    [
        measurement(1.0, goal=None),
        measurement(1.0, goal=5.0, samples=0),
        measurement(float("nan"), goal=5.0),
    ],
    ids=["no goal", "no samples", "not a number"],
)
def test_goal_without_evidence(each: Measurement) -> None:
    """Without a goal, samples or a number, nothing is reached and nothing is missed."""
    assert each.reaches_goal is None


@pytest.mark.parametrize(
    ("count", "p95"), [(1, 1), (10, 10), (19, 19), (20, 19), (21, 20), (50, 48), (100, 95), (101, 96)]
)
def test_a_p95_is_by_nearest_rank(count: int, p95: int) -> None:
    """The smallest sample that at least 95 of 100 do not exceed, whatever their number."""
    assert quantile(range(1, count + 1), 0.95) == p95


def test_quantiles_are_samples() -> None:
    """Quantiles are by nearest rank: each is one of the samples."""
    assert quantiles([float(n) for n in range(100, 0, -1)]) == {
        "min": 1.0,
        "p50": 50.0,
        "p90": 90.0,
        "p99": 99.0,
        "max": 100.0,
    }
    assert quantiles([3.0]) == {"min": 3.0, "p50": 3.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert quantiles([]) == {}


def test_file_is_complete_after_each_measurement(tmp_path: Path) -> None:
    """Every addition leaves a readable file with all measurements and the machine; two writers share it."""
    path = tmp_path / "new" / "benchmark.json"
    first, second = measurement(1.0, goal=None), measurement(2.0, goal=5.0)

    Measurements(path).add(first)
    assert read_measurements(path) == [first]
    Measurements(path).add(second)

    assert read_measurements(path) == [first, second]
    assert json.loads(path.read_text())["machine"].keys() == machine_facts().keys()
    assert [each.name for each in path.parent.iterdir()] == ["benchmark.json"]


def test_no_file_is_no_measurement(tmp_path: Path) -> None:
    """A run that measured nothing has an empty list."""
    assert read_measurements(tmp_path / "benchmark.json") == []


def test_machine_facts_say_what_numbers_depend_on() -> None:
    """The facts name system, processor, memory, load and Python, none of them empty."""
    facts = machine_facts()

    assert set(facts) == {"system", "processor", "cpus", "memory", "load", "python"}
    assert all(facts.values())
