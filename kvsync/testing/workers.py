"""Several processes for the tests of one stage: how many, and what becomes of a test that kills one.

Each process runs whole files, so that what the tests of a file share is made once.
"""

import os

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no types

MOST_PROCESSES = 8
"""Each one collects all tests, which costs more than further ones save."""

END_S = 5.0
"""A process that closed its connection has ended, or is about to."""


def processes() -> int:
    """Return how many processes there are: two more than cores, because tests also wait.

    With one more, 520 s of our integration tests took 199 s on two cores; a third of that they were idle.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 2, MOST_PROCESSES)


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]  # as above
    """Hands out whole files; a test whose process died under it is not tried again.

    xdist would give it to another process, and to the next one after that, until all have died of it.
    """

    def remove_node(self, node: object) -> str | None:
        """Forget a process; returns the test that it died of, if it was running one."""
        for tests in self.assigned_work[node].values():
            for nodeid, is_complete in tests.items():
                if not is_complete:
                    tests[nodeid] = True
                    super().remove_node(node)
                    return str(nodeid)
        super().remove_node(node)
        return None


def exit_code(report: pytest.TestReport) -> int | None:
    """Return what the process of a test ended with; None if it ended in an orderly way, being interrupted."""
    node = report.node  # xdist adds it
    # execnet has no public word for how a process ended.
    return None if hasattr(node, "workeroutput") else int(node.gateway._io.popen.wait(END_S))
