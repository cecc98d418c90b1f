"""The stress program does what it says, and none of its processes outlives who started it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from kvsync.testing.processes.wait import wait_for

Started = tuple[subprocess.Popen[bytes], list[psutil.Process]]
Stress = Callable[..., Started]
TIMEOUT_S = 40.0


@pytest.fixture
def stress() -> Iterator[Stress]:
    """Start the program with two workers; returns it and them. Whatever is left is killed after the test."""
    with ExitStack() as running:

        def start(*arguments: str) -> Started:
            argv = [sys.executable, "-m", "kvsync.testing.faults.stress", *arguments, "--workers", "2"]
            program = running.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE))
            running.callback(program.kill)
            process = psutil.Process(program.pid)
            wait_for(lambda: len(process.children()) == 2, what="two workers", timeout_s=TIMEOUT_S)
            return program, process.children()

        yield start


def await_end(workers: list[psutil.Process]) -> None:
    """Wait until no worker runs; one that has not been waited for yet counts as ended."""
    wait_for(
        lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers),
        what="the end of every worker",
        timeout_s=TIMEOUT_S,
    )


def test_each_worker_burns_its_share_of_a_core(stress: Stress) -> None:
    """It works half of the time when told so, and rests for the other half."""
    began = time.monotonic()
    _, workers = stress("cpu", "--load", "0.5")

    def used_s() -> float:
        return sum(times.user + times.system for times in (worker.cpu_times() for worker in workers))

    def rests(worker: psutil.Process) -> bool:
        return worker.num_ctx_switches().voluntary >= 5

    wait_for(lambda: used_s() >= 0.5, what="half a second of CPU time", timeout_s=TIMEOUT_S)
    wait_for(lambda: all(map(rests, workers)), what="five rests of each worker", timeout_s=TIMEOUT_S)

    # As long as the machine is busy they get less, and never more, but for what a clock tick rounds.
    assert used_s() <= 2 * 0.5 * (time.monotonic() - began) + 0.1


def test_the_workers_hold_memory_together(stress: Stress) -> None:
    """What they were told to hold is resident, divided among them."""
    _, workers = stress("memory", "--size", str(64 << 20))

    wait_for(
        lambda: all(32 << 20 <= worker.memory_info().rss < 60 << 20 for worker in workers),
        what="32 MiB in each worker",
        timeout_s=TIMEOUT_S,
    )


@pytest.mark.parametrize("what", ["cpu", "memory"])
def test_it_ends_by_itself(stress: Stress, what: str) -> None:
    """After the given time no process is left."""
    program, workers = stress(what, "--for", "1")

    assert program.wait(TIMEOUT_S) == 0
    await_end(workers)


@pytest.mark.parametrize("what", ["cpu", "memory"])
def test_it_ends_with_its_input(stress: Stress, what: str) -> None:
    """When the process that started it is gone, the other end of its input is closed."""
    program, workers = stress(what)

    program.communicate(timeout=TIMEOUT_S)

    assert program.returncode == 0
    await_end(workers)


def test_its_workers_end_with_the_input_though_it_was_killed(stress: Stress) -> None:
    """A worker ends by itself."""
    program, workers = stress("cpu")
    program.kill()

    program.communicate(timeout=TIMEOUT_S)

    await_end(workers)


def test_it_ends_when_asked(stress: Stress) -> None:
    """It takes its workers along, and waits for them."""
    program, workers = stress("cpu")

    program.terminate()

    assert program.wait(TIMEOUT_S) == 0
    assert not any(worker.is_running() for worker in workers)
