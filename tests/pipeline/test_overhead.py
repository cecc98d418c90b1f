"""What the pipeline costs beyond its tests, side by side with pytest alone; shown by `--profile full -rP`."""

import resource
import subprocess
import sys
from collections.abc import Callable
from statistics import median

import pytest

from tests.pipeline.conftest import Pipeline

STAGES = ("unit", "integration", "property", "e2e", "chaos", "soak")
ROUNDS = 3


@pytest.mark.full
@pytest.mark.timeout(600)
def test_what_a_run_costs_beyond_its_tests(
    pipeline: Pipeline, repository: Callable[..., str], record_property: Callable[[str, object], None]
) -> None:
    """Six stages of one test each, by pytest alone and by a run, in turns; measured, not judged."""
    sources = repository(**dict.fromkeys(STAGES, "def test_nothing(): pass"))

    def alone() -> None:
        for stage in STAGES:
            words = [sys.executable, "-m", "pytest", "-q", f"{sources}/tests/{stage}"]
            subprocess.run(words, cwd=sources, check=True, capture_output=True, timeout=60)

    def run() -> None:
        status, printed = pipeline("run", *STAGES, "--repository", sources)
        assert status == 0, printed

    rounds = [(_cpu_s(alone), _cpu_s(run)) for _ in range(ROUNDS)]

    overhead_s = median(whole_s - bare_s for bare_s, whole_s in rounds)
    said = ", ".join(f"{bare_s:.1f} -> {whole_s:.1f} s" for bare_s, whole_s in rounds)
    record_property("overhead_s", f"{overhead_s:.1f}")
    print(f"CPU of pytest alone -> of a run on a server: {said}; overhead {overhead_s:.1f} s")
    assert len(pipeline.runs()) == ROUNDS


def _cpu_s(work: Callable[[], None]) -> float:
    """Return the CPU seconds of the processes that some work starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
