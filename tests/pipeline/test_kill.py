"""A run that is killed, whatever it was doing, leaves nothing that `kvsync-ci clean` does not remove."""

import os
import random
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kvsync.testing.processes.ledger import RUN_VARIABLE
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, kubectl
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines
from tests.pipeline.conftest import Pipeline, guardians

MOMENTS = 10
LOCAL_S, KIND_S = 30.0, 150.0
"""Within this time most of what a run makes has been made: it is killed at some moment of it."""
AMID_S = 5.0
"""From the first gateway of a local run; in this time there are engines, and requests."""
FAULTS_S = 40.0
"""From the first fault on a node; in this time there are some, and times between them."""
FIRST_FAULT_S = 600.0
ONLY_FULL = pytest.mark.full

KIND = pytest.mark.skipif(
    not os.environ.get("KVSYNC_CI_TEST_KIND"), reason="needs Docker and kind (KVSYNC_CI_TEST_KIND=1)"
)
"""Such a run builds an image and a cluster, which takes a minute or two."""

LEFT_ON_NODE = """
ps -eo stat=,args= | grep "^T"
ctr --namespace=k8s.io images ls --quiet | grep kvsync:
for net in /proc/1/ns/net /run/netns/*; do
  nsenter --net=$net iptables-save | grep -e "--comment kvsync-"
  nsenter --net=$net tc qdisc | grep -e netem -e tbf
done
:
"""
"""Prints stopped processes, images, rules and disciplines of ours; kube-proxy's comments are in quotes."""


def moments(number: int) -> list[object]:
    """The first of ten random moments for every change, the others for the night."""
    return [number, *(pytest.param(each, marks=ONLY_FULL) for each in range(number + 1, MOMENTS))]


@pytest.fixture
def confined(pipeline: Pipeline, tmp_path: Path) -> tuple[Pipeline, Path]:
    """The command with a folder of its own for temporary files, and that folder."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return replace(pipeline, env={**pipeline.env, "TMPDIR": str(temporary)}), temporary


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a Kind cluster that runs may use one after the other; at the end it is gone."""
    name = f"kill-{secrets.token_hex(4)}"
    yield name
    kubeconfig = tmp_path_factory.mktemp("kind") / "kubeconfig"
    said(
        ON_PATH.ask(
            "kind", "delete", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}", timeout_s=120
        )
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", moments(0))
def test_a_killed_local_run_leaves_nothing(confined: tuple[Pipeline, Path], number: int, seed: int) -> None:
    """Gateway, engines, proxies and pytest are gone, whichever of them there were.

    The run of every change is killed amid its first cluster, those of the night at any moment.
    """
    among = random.Random(seed + number)
    moment, first = (among.uniform(0.5, LOCAL_S), "") if number else (among.uniform(0, AMID_S), "gateway")
    killed_at_some_moment(confined, ["e2e", "chaos"], moment, first=first, alone=number % 2 == 0)


@KIND
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("number", moments(0))
def test_a_killed_kind_run_leaves_nothing(
    confined: tuple[Pipeline, Path], lasting: str, number: int, seed: int, tmp_path: Path
) -> None:
    """The cluster, its image and its containers are gone, even if they were just being made.

    Every third run is killed during the faults of a cluster of its own, every third of a cluster that stays.
    """
    among, words = random.Random(seed + number), ["--cluster", "kind"]
    match number % 3:
        case 0:
            moment, first, words = among.uniform(0.5, KIND_S), "", ["e2e", *words]
        case 1:
            moment, first, words = among.uniform(0, FAULTS_S), "network-rule", ["chaos", *words]
        case _:
            words = ["chaos", *words, "--reuse", lasting]
            moment, first = among.uniform(0, FAULTS_S), "network-rule"
    run = killed_at_some_moment(confined, words, moment, first=first, alone=number % 2 == 0)

    assert docker("ps", "--all", "--filter", f"name={run.name}", "--format", "{{.Names}}") == []
    assert docker("images", "--filter", f"reference=kvsync:{run.name}", "--quiet") == []
    if lasting in words:
        assert left_in(lasting, tmp_path / "kubeconfig") == []


def killed_at_some_moment(
    confined: tuple[Pipeline, Path], words: Sequence[str], moment_s: float, *, alone: bool, first: str = ""
) -> Path:
    """Kill a run with SIGKILL after a while, clean up, and look for what is left; returns its folder.

    The time counts from the `first` entry of a kind or name in its ledger. `alone`: nothing is left but
    `clean`, because the run's guardian is killed, too.
    """
    pipeline, temporary = confined
    process = pipeline.start("run", *words)
    try:
        await_moment(pipeline, moment_s, first)
    except BaseException:
        process.terminate()  # it then cleans up by itself
        print(*process.communicate(timeout=120), sep="\n")
        raise
    (run,) = pipeline.runs()
    flow = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    for each in [*(guardians(run) if alone else ()), *flow]:
        each.send_signal(signal.SIGKILL)
    process.communicate()
    for each in guardians(run) if alone else ():  # one that was just being started
        each.send_signal(signal.SIGKILL)

    print(f"killed after {moment_s:.1f} s; left:", *pipeline("clean", "--check")[1], sep="\n")
    status, lines = pipeline("clean")
    assert status == 0, "\n".join(lines)
    assert pipeline("clean", "--check") == (0, ["nothing is left behind"])
    marked = [
        each.info for each in psutil.process_iter(["pid", "cmdline", "environ"]) if _is_of(each, run.name)
    ]
    assert marked == []
    assert list(temporary.iterdir()) == []
    return run


def await_moment(pipeline: Pipeline, moment_s: float, first: str) -> None:
    """Wait until a run is so old or, if something comes `first`, until that is."""
    if first:
        wait_for(
            lambda: has_begun(pipeline, first),
            what=f"the run has made a {first}",
            timeout_s=FIRST_FAULT_S,
            interval_s=0.5,
        )
    began = time.monotonic()
    wait_for(
        lambda: time.monotonic() - began > moment_s and bool(pipeline.runs()),
        what=f"the run is {moment_s:.0f} s old",
        timeout_s=moment_s + 60,
    )


def has_begun(pipeline: Pipeline, what: str) -> bool:
    """Say whether a run has made something of this kind, or a program of a cluster with this name."""
    records = [record for run in pipeline.runs() for record in read_lines(run / "ledger.jsonl")]
    return any(what in (each.get("kind"), str(each.get("name")).rpartition("/")[2]) for each in records)


def left_in(cluster: str, kubeconfig: Path) -> list[str]:
    """Return what runs left in a Kind cluster that stays: namespaces, closed nodes, changes of nodes.

    The kubeconfig is written, for that of a run goes with it.
    """
    nodes = docker("ps", f"--filter=label=io.x-k8s.kind.cluster={cluster}", "--format={{.Names}}")
    assert nodes
    said(ON_PATH.ask("kind", "export", "kubeconfig", f"--name={cluster}", f"--kubeconfig={kubeconfig}"))
    ask = kubectl(kubeconfig, "", "get", "--output=name")
    return [
        *said(ON_PATH.ask(*ask, "namespaces", "--selector=kvsync.dev/run", timeout_s=30)),
        *said(ON_PATH.ask(*ask, "nodes", "--field-selector=spec.unschedulable=true", timeout_s=30)),
        *(line for node in nodes for line in docker("exec", node, "bash", "-c", LEFT_ON_NODE)),
    ]


def _is_of(process: psutil.Process, run: str) -> bool:
    alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return alive and (process.info["environ"] or {}).get(RUN_VARIABLE) == run


def docker(*words: str) -> list[str]:
    """Return the lines that a docker command prints."""
    return said(ON_PATH.ask("docker", *words, timeout_s=30))


def said(answer: ToolAnswer) -> list[str]:
    """Return the lines of an answer, which there has to be."""
    assert answer.ok, answer.reason
    return answer.lines
