"""A run that is killed, whatever it was doing, leaves nothing that `kvsync-ci clean` does not remove."""

import os
import random
import signal
import time
from collections.abc import Sequence

import psutil
import pytest

from kvsync.testing.ledger import RUN_VARIABLE
from kvsync.testing.tools import Tools
from kvsync.testing.wait import wait_for
from tests.pipeline.conftest import Pipeline

MOMENTS = 10
LOCAL_S, KIND_S = 30.0, 150.0
"""Within this time most of what a run makes has been made: it is killed at some moment of it."""
ONLY_FULL = pytest.mark.full

KIND = pytest.mark.skipif(
    not os.environ.get("KVSYNC_CI_TEST_KIND"), reason="needs Docker and kind (KVSYNC_CI_TEST_KIND=1)"
)
"""Such a run builds an image and a cluster, which takes a minute or two."""


def moments(number: int) -> list[object]:
    """The first of ten random moments for every change, the others for the night."""
    return [number, *(pytest.param(each, marks=ONLY_FULL) for each in range(number + 1, MOMENTS))]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", moments(0))
def test_a_killed_local_run_leaves_nothing(pipeline: Pipeline, number: int, seed: int) -> None:
    """Gateway, engines, proxies and pytest are gone, whichever of them there were."""
    killed_at_some_moment(pipeline, ["e2e", "chaos"], random.Random(seed + number).uniform(0.5, LOCAL_S))


@KIND
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", moments(0))
def test_a_killed_kind_run_leaves_nothing(pipeline: Pipeline, number: int, seed: int) -> None:
    """The cluster, its image and its containers are gone, even if they were just being made."""
    moment = random.Random(seed + number).uniform(0.5, KIND_S)
    killed_at_some_moment(pipeline, ["e2e", "--cluster", "kind"], moment)
    (run,) = pipeline.runs()
    assert docker("ps", "--all", "--filter", f"name={run.name}", "--format", "{{.Names}}") == []
    assert docker("images", "--filter", f"reference=kvsync:{run.name}", "--quiet") == []


def killed_at_some_moment(pipeline: Pipeline, words: Sequence[str], moment_s: float) -> None:
    """Start a run, kill it with SIGKILL after a while, clean up, and look for what is left."""
    process = pipeline.start("run", *words)
    began = time.monotonic()
    wait_for(
        lambda: time.monotonic() - began > moment_s and bool(pipeline.runs()),
        what=f"the run is {moment_s:.0f} s old",
        timeout_s=moment_s + 60,
    )
    for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children()]:
        each.send_signal(signal.SIGKILL)
    process.communicate()

    (run,) = pipeline.runs()
    print(f"killed after {moment_s:.1f} s; left:", *pipeline("clean", "--check")[1], sep="\n")
    status, lines = pipeline("clean")
    assert status == 0, "\n".join(lines)
    assert pipeline("clean", "--check") == (0, ["nothing is left behind"])
    marked = [
        each.info for each in psutil.process_iter(["pid", "cmdline", "environ"]) if _is_of(each, run.name)
    ]
    assert marked == []


def _is_of(process: psutil.Process, run: str) -> bool:
    alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return alive and (process.info["environ"] or {}).get(RUN_VARIABLE) == run


def docker(*words: str) -> list[str]:
    """Return the lines that a docker command prints."""
    answer = Tools().ask("docker", *words)
    assert answer.ok, answer.reason
    return answer.lines
