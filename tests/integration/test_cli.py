"""The command `kvsync`, run as users and test clusters run it: as processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
import pytest

from kvsync import core
from kvsync.cli import SIMULATOR_HELP, app
from kvsync.simulator.options import SimulatorOptions
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.processes.wait import wait_for

ADDRESSES = LoopbackBlock(f"cli {os.getpid()}")

WITHIN_S = 20.0
"""Far above what a process needs to start on a busy machine."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `kvsync` with arguments, under another command if given; what runs after the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path, under: Sequence[str] = ()) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "kvsync", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def configuration(folder: Path, **settings: object) -> tuple[Path, str]:
    """A file with settings for a gateway on an address of its own, and its URL."""
    host = ADDRESSES.next().host
    file = folder / "gateway.json"
    file.write_text(json.dumps({"host": host, "health": {"interval_s": 0.1}, **settings}))
    return file, f"http://{host}:8080"


def ready(url: str) -> None:
    """Wait until something answers there."""

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=WITHIN_S, verify=NO_CERTIFICATES).is_success
        except httpx.TransportError:
            return False

    wait_for(answers, what=f"{url} answers", timeout_s=WITHIN_S)


def test_gateway_and_simulator_serve_and_stop(start: Start, tmp_path: Path) -> None:
    """A gateway in front of a simulator serves a stream; both stop in time with it still running."""
    host = ADDRESSES.next().host
    pods = [{"name": "a", "model": "m", "host": host}]
    config, url = configuration(tmp_path, pods=pods)
    slow = ("--inter-token-ms", "50", "--lora", "poet", "--lora", "sql")
    simulator = start("simulate", "--name", "a", "--model", "m", "--host", host, *slow)
    gateway = start("gateway", "--config", config)
    ready(f"{url}/readyz")
    request = {"model": "sql", "prompt": [1, 2, 3], "max_tokens": 10_000, "stream": True}

    with httpx.stream(
        "POST", f"{url}/v1/completions", json=request, timeout=WITHIN_S, verify=NO_CERTIFICATES
    ) as answer:
        assert next(answer.iter_text()).startswith("data: ")
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(timeout=5) == 0
    simulator.send_signal(signal.SIGINT)

    assert simulator.wait(timeout=5) == 0
    log = gateway.communicate()[1]
    assert f"gateway on {url}" in log
    assert "Traceback" not in log


def test_a_gateway_ends_with_its_standard_input(start: Start, tmp_path: Path) -> None:
    """With --exit-with-stdin the end of the parent ends the gateway."""
    config, url = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": "127.0.0.1"}])
    gateway = start("gateway", "--config", config, "--exit-with-stdin", "--log-level", "error")
    ready(f"{url}/healthz")

    assert gateway.communicate(timeout=5) == ("", "")
    assert gateway.returncode == 0


@pytest.mark.parametrize(
    ("limit", "level"),
    [pytest.param("-S -n 256", "INFO", id="low"), pytest.param("-n 256", "WARNING", id="low for good")],
)
def test_a_gateway_raises_its_limit_of_open_files(
    start: Start, tmp_path: Path, limit: str, level: str
) -> None:
    """It may open as many files as the system lets it, and says when that is too few for its pods."""
    config, url = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": "127.0.0.1"}])
    gateway = start("gateway", "--config", config, under=("sh", "-c", f'ulimit {limit}; exec "$@"', "sh"))
    ready(f"{url}/healthz")
    soft, hard = psutil.Process(gateway.pid).rlimit(psutil.RLIMIT_NOFILE)
    gateway.terminate()
    (line,) = [line for line in gateway.communicate()[1].splitlines() if "limit of open files" in line]

    assert soft == hard
    assert level in line


def test_tail_prints_events(start: Start) -> None:
    """`kvsync tail` prints what an engine published before and what it publishes now, one line each."""
    host = ADDRESSES.next().host
    start("simulate", "--name", "a", "--model", "m", "--host", host)
    api = f"http://{host}:8000"
    ready(f"{api}/health")
    complete = {"model": "m", "prompt": list(range(16)), "max_tokens": 1}
    httpx.post(
        f"{api}/v1/completions", json=complete, timeout=WITHIN_S, verify=NO_CERTIFICATES
    ).raise_for_status()
    tail = start("tail", f"tcp://{host}:5557", "--replay", f"tcp://{host}:5558")
    assert tail.stdout

    message, stored = (json.loads(tail.stdout.readline()) for _ in range(2))
    httpx.post(f"http://{host}:9000/clear", timeout=WITHIN_S, verify=NO_CERTIFICATES).raise_for_status()
    live, cleared = (json.loads(tail.stdout.readline()) for _ in range(2))
    tail.send_signal(signal.SIGINT)

    assert (message["sequence"], message["via"], message["data_parallel_rank"]) == (0, "replay", 0)
    assert message["frames"] == ["empty", "topic ''", "sequence", "payload"]
    assert (stored["type"], stored["token_ids"]) == ("BlockStored", list(range(16)))
    assert [len(one) for one in stored["block_hashes"]] == [16]
    assert (live["sequence"], live["via"], cleared["type"]) == (1, "live", "AllBlocksCleared")
    assert tail.wait(timeout=5) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["gateway", "--config", "none.yaml"], "cannot read none.yaml", id="no-such-file"),
        pytest.param(["simulate", "--name", "", "--model", "m"], "name: must not be empty", id="option"),
        pytest.param(["tail", "nonsense"], "nonsense", id="endpoint"),
        pytest.param(["tail", "tcp://*:5557"], "kvsync connects to engines", id="endpoint-to-bind"),
        pytest.param(["gateway", "--frobnicate"], "No such option", id="unknown-option"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be done is said on standard error with status 2."""
    assert exit_status(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_taken_port_names_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is reported with the process that listens there."""
    config, url = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": "127.0.0.1"}])
    host = url.removeprefix("http://").removesuffix(":8080")
    with socket.create_server((host, 8080)):
        assert exit_status(["gateway", "--config", str(config)]) == 2

    complaint = capsys.readouterr().err
    assert complaint.startswith(f"kvsync: tcp://{host}:8080 is in use by ")
    assert f"(pid {os.getpid()})" in complaint


@pytest.mark.parametrize("argument", ["--socket", "--port"])
def test_an_indexer_that_finds_no_place_says_so(
    argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its socket or its port cannot be used."""
    config, _ = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": "127.0.0.1"}])
    # A name, for a path in a run's temporary folder is too long for a socket.
    socket_at, options = f"@kvsync-test-{os.getpid()}", ["indexer", "--config", str(config)]
    if argument == "--socket":
        assert exit_status([*options, "--socket", str(tmp_path / "none" / "indexer.sock")]) == 2
        assert "indexer.socket" in capsys.readouterr().err
        return
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert exit_status([*options, "--socket", socket_at, "--port", str(port)]) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith(f"kvsync: tcp://127.0.0.1:{port} is in use by ")
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_whose_indexer_finds_no_place_says_so(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As whatever else is wrong with its settings: before it serves."""
    pods = [{"name": "a", "model": "m", "host": "127.0.0.1"}]
    nowhere = "/none/indexer.sock"  # a path in a run's temporary folder is too long for a socket
    config, _ = configuration(tmp_path, pods=pods, indexer={"mode": "process", "socket": nowhere})

    assert exit_status(["gateway", "--config", str(config), "--workers", str(workers)]) == 2

    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first == "kvsync: indexer: 1 problem"
    assert second.startswith(f"cannot listen at {nowhere}: No such file or directory: ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the package, and with it is said which core is used."""
    assert exit_status(["--version"]) == 0
    assert capsys.readouterr().out == f"kvsync {version('kvsync')} (core: {core.chosen()})\n"


def exit_status(arguments: list[str]) -> object:
    """Run `kvsync` with these arguments in this process."""
    with pytest.raises(SystemExit) as caught:
        app(arguments)
    return caught.value.code


def test_every_option_of_the_simulator_is_explained() -> None:
    """Each field of SimulatorOptions is a flag with a help text."""
    explained = {name for texts in SIMULATOR_HELP.values() for name in texts}

    assert explained == {field.name for field in fields(SimulatorOptions)}


def test_an_indexer_ends_with_its_gateway(start: Start, tmp_path: Path) -> None:
    """Also when the gateway is killed, which can tell it nothing."""
    pods = [{"name": "a", "model": "m", "host": ADDRESSES.next().host}]
    config, url = configuration(tmp_path, pods=pods, indexer={"mode": "process"})
    gateway = start("gateway", "--config", config)

    def answers() -> psutil.Process | None:
        with contextlib.suppress(httpx.TransportError):
            if not httpx.get(f"{url}/status", timeout=WITHIN_S, verify=NO_CERTIFICATES).json()["indexer"][
                "problem"
            ]:
                return psutil.Process(gateway.pid).children()[0]
        return None

    indexer = wait_for(answers, what="the indexer answers", timeout_s=WITHIN_S)
    gateway.kill()

    assert psutil.wait_procs([indexer], timeout=WITHIN_S)[1] == []


def test_an_indexer_needs_an_address(start: Start, tmp_path: Path) -> None:
    """Without one it says what to set."""
    config, _ = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": ADDRESSES.next().host}])

    indexer = start("indexer", "--config", config)

    assert indexer.wait(timeout=WITHIN_S) == 2
    assert "indexer.socket is not set" in ((indexer.stderr and indexer.stderr.read()) or "")


def test_workers_share_a_port_and_an_indexer(start: Start, tmp_path: Path) -> None:
    """All know what pods hold; one that is killed loses no later request; all end with the gateway."""
    host = ADDRESSES.next().host
    start("simulate", "--name", "a", "--model", "m", "--host", host)
    config, url = configuration(tmp_path, pods=[{"name": "a", "model": "m", "host": host}])
    gateway = start("gateway", "--config", config, "--workers", "2")
    ready(f"{url}/readyz")
    request = {"model": "m", "prompt": list(range(65)), "max_tokens": 1}

    def blocks_of_each() -> dict[str, int] | None:
        answers = [
            httpx.post(f"{url}/v1/completions", json=request, timeout=WITHIN_S, verify=NO_CERTIFICATES)
            for _ in range(4)
        ]
        assert all(answer.is_success for answer in answers)
        told = [httpx.get(f"{url}/status", timeout=WITHIN_S, verify=NO_CERTIFICATES).json() for _ in range(4)]
        known.update({each["worker"]: each["index"]["blocks"] for each in told})
        return known if known == {"1 of 2": 4, "2 of 2": 4} else None

    known: dict[str, int] = {}
    wait_for(blocks_of_each, what="both workers know the blocks", timeout_s=WITHIN_S)
    page = httpx.get(f"{url}/metrics", timeout=WITHIN_S, verify=NO_CERTIFICATES).text
    assert [f'kvsync_workers{{worker="{number}"}} 1.0' in page for number in (1, 2)] == [True, True]
    assert page.count("kvsync_index_blocks{") == 1
    children = psutil.Process(gateway.pid).children()
    next(child for child in children if "--worker" in child.cmdline()).kill()
    for _ in range(8):
        assert httpx.post(
            f"{url}/v1/completions", json=request, timeout=WITHIN_S, verify=NO_CERTIFICATES
        ).is_success
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(timeout=WITHIN_S) == 0
    assert psutil.wait_procs(children, timeout=WITHIN_S)[1] == []
