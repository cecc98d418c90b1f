"""Faults of containers of Docker's that are found by a label, by what a double of `docker` says of them."""

import json
import stat
from pathlib import Path

import pytest

from kvsync.ci.chaos.containers import KIND, ContainerInjector, find_container
from kvsync.ci.cleaning.reapers import reap
from kvsync.testing.faults.fault import ContainerKill, Fault, Latency, PodFailure, PodPause, Restart, name_of
from kvsync.testing.faults.holding import active
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.tools import Tools
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun

DOCKER = """#!/usr/bin/env python3
import json, pathlib, sys

path = pathlib.Path(__file__).parent / "state.json"
state = json.loads(path.read_text())
status, started = state["status"], state["started"]
match sys.argv[1:]:
    case ["ps", *words]:
        print("shop-cache" if "--filter=label=app=cache" in words else "")
    case ["inspect", *_]:
        print(f"{status}  {started}")
    case ["unpause", _] if status != "paused":
        sys.exit("Container shop-cache is not paused")
    case [word, _]:
        status = {"pause": "paused", "kill": "exited"}.get(word, "running")
        started += word in ("start", "restart")
path.write_text(json.dumps({"status": status, "started": started}))
"""


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """A docker with one container that runs."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    (docker.parent / "state.json").write_text(json.dumps({"status": "running", "started": 1}))
    return Tools(f"{docker.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("fault", "proof"),
    [
        (ContainerKill(pod="shop-cache"), "shop-cache is running, started at 2 after 1"),
        (Restart(pod="shop-cache"), "shop-cache is running, started at 2 after 1"),
        (PodFailure(pod="shop-cache"), "shop-cache is exited"),
        (PodPause(pod="shop-cache"), "shop-cache is paused"),
    ],
    ids=lambda given: given if isinstance(given, str) else name_of(given),
)
def test_what_happens_to_a_container_is_proved(
    tmp_path: Path, tools: Tools, fault: Fault, proof: str
) -> None:
    """And is over afterwards, with nothing in the ledger."""
    ledger = Ledger(tmp_path / "run" / "ledger.jsonl")
    injector = ContainerInjector(ledger, lambda: None, tools)
    with active(fault, injector, History(tmp_path / "history.jsonl", proc="x")) as episode:
        pass

    assert (episode.proof, episode.absence) == (proof, "shop-cache is running")
    assert leftovers([ledger.path]) == []


def test_a_container_that_a_killed_run_left_paused_goes_on(tmp_path: Path, tools: Tools) -> None:
    """The ledger knows how; a second time there is nothing to undo."""
    ledger = Ledger(tmp_path / "run" / "ledger.jsonl")
    ContainerInjector(ledger, lambda: None, tools).prepare(PodPause(pod="shop-cache")).inject()

    (entry,) = leftovers([ledger.path])
    assert (entry.kind, reap(entry, tools), reap(entry, tools)) == (KIND, True, False)


def test_what_cannot_be_says_why(tmp_path: Path, tools: Tools) -> None:
    """No such container, no docker, and a fault that needs a proxy: not run, with nothing changed."""
    injector = ContainerInjector(Ledger(tmp_path / "run" / "ledger.jsonl"), lambda: None, tools)
    with pytest.raises(NotRun, match="no container with the label app=other runs here"):
        find_container("app=other", tools)
    with pytest.raises(NotRun, match="docker is not installed"):
        find_container("app=cache", Tools("/nowhere"))
    with pytest.raises(NotRun, match="no proxy is in front of a container"):
        injector.prepare(Latency(pod="shop-cache", delay_s=1.0))


def test_a_container_is_found_by_all_of_its_labels(tools: Tools) -> None:
    """Written as on Kubernetes, too."""
    assert find_container("app==cache, tier=data", tools) == "shop-cache"
