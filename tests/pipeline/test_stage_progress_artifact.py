"""What Prefect shows of a stage that takes long, and what cron asks about the schedule."""

from collections.abc import Callable

import httpx
import pytest

from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.timeout(180)

LONG = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_slow(number):
        time.sleep(1.5)
        assert number != 2, "two is too many"
"""


def test_a_long_stage_shows_how_far_it_is(
    pipeline: Pipeline, repository: Callable[..., str], server: str
) -> None:
    """At its end everything is done; how its tests ended is in the log of its task run."""
    status, _ = pipeline("run", "unit", "--repository", repository(unit=LONG))

    assert status == 1
    (run,) = pipeline.runs()
    named = {"flow_runs": {"name": {"any_": [f"manual {run.name}"]}}}
    (flow_run,) = httpx.post(f"{server}/flow_runs/filter", json=named).json()
    here = {"flow_run_id": {"any_": [flow_run["id"]]}}
    artifacts = httpx.post(f"{server}/artifacts/filter", json={"artifacts": here}).json()
    (progress,) = [each for each in artifacts if each["key"] == "progress-unit"]
    assert progress["type"] == "progress"
    assert progress["data"] == 100.0
    assert progress["description"].startswith("unit: 4 of 4: 1 failed, 3 passed")
    assert progress["task_run_id"]
    lines = [each["message"] for each in httpx.post(f"{server}/logs/filter", json={"logs": here}).json()]
    told = [line for line in lines if "::test_slow" in line and not line.startswith(("FAILED", "UNKNOWN"))]
    assert told[:2] == [f"passed: tests/unit/test_unit.py::test_slow[{n}]" for n in range(2)]
    assert told[2].startswith("failed: tests/unit/test_unit.py::test_slow[2]: ")
