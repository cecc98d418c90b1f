"""The ledger: what was created is found again after any death, and nothing else is touched."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from kvsync.errors import UnknownName
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.living import end, find_strays, reap
from kvsync.testing.processes.wait import wait_for

IGNORES_TERM = (
    "import signal,sys,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
STARTS_ANOTHER = "import subprocess,sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of the run "ledger-7", a name that no other file clears up after."""
    return Ledger(tmp_path / "ledger-7" / "ledger.jsonl")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python code in a group of its own, wait for its first output; all is killed at the end."""
    started = []

    def run(*code: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", *code],
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=5)


def facts(process: "subprocess.Popen[bytes]") -> dict[str, object]:
    """Return what finds a process again."""
    return {"pid": process.pid, "create_time": psutil.Process(process.pid).create_time()}


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, even if its exit status was not read."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_was_not_released_is_left_over_newest_first(ledger: Ledger) -> None:
    """Entries come back with their facts, the newest first, without those that were released."""
    first = ledger.intend("path", "/nowhere/a", owner="me")
    second = ledger.intend("process", "b")
    third = ledger.intend("path", "/nowhere/c")
    ledger.created(first, size=3)
    ledger.released(second)

    found = leftovers([ledger.path])

    assert [entry.name for entry in found] == ["/nowhere/c", "/nowhere/a"]
    assert found[1].facts == {"owner": "me", "size": 3}
    assert found[1].run == "ledger-7"
    assert found[0] == third


def test_an_intention_alone_is_a_leftover(ledger: Ledger) -> None:
    """A run killed between intention and creation still has the entry."""
    ledger.intend("namespace", "kvsync-run-7")

    assert [(entry.kind, entry.name) for entry in leftovers([ledger.path])] == [("namespace", "kvsync-run-7")]


def test_ledgers_of_several_runs_are_read_together(tmp_path: Path) -> None:
    """Entries keep the run they belong to; a ledger that does not exist is empty."""
    Ledger(tmp_path / "a" / "ledger.jsonl").intend("path", "x")
    Ledger(tmp_path / "b" / "ledger.jsonl").intend("path", "y")

    found = leftovers(tmp_path / run / "ledger.jsonl" for run in ("a", "b", "c"))

    assert [(entry.run, entry.name) for entry in found] == [("b", "y"), ("a", "x")]


def test_a_ledger_torn_at_any_byte_keeps_its_whole_lines(ledger: Ledger) -> None:
    """However much of the last line reached the disk, earlier entries survive and later ones are kept."""
    ledger.intend("path", "/nowhere/kept")
    whole = ledger.path.read_bytes()
    ledger.intend("path", "/nowhere/torn")
    last = ledger.path.read_bytes()[len(whole) :]

    for length in range(len(last)):
        ledger.path.write_bytes(whole + last[:length])
        Ledger(ledger.path).intend("path", "/nowhere/later")

        names = [entry.name for entry in leftovers([ledger.path])]

        # Cut just before its line end, the last line is complete.
        torn = ["/nowhere/torn"] if length == len(last) - 1 else []
        assert names == ["/nowhere/later", *torn, "/nowhere/kept"]


def test_every_line_survives_sigkill(ledger: Ledger, start: Start) -> None:
    """What a process wrote before it was killed is in the file."""
    code = (
        "import sys, time; from pathlib import Path; from kvsync.testing.processes.ledger import Ledger;"
        "ledger = Ledger(Path(sys.argv[1])); ledger.released(ledger.intend('path', 'a'));"
        "ledger.intend('path', 'b'); print('up', flush=True); time.sleep(60)"
    )
    start(code, str(ledger.path)).kill()

    assert [entry.name for entry in leftovers([ledger.path])] == ["b"]


@pytest.mark.parametrize("code", [SLEEPS, IGNORES_TERM], ids=["ends when asked", "ignores SIGTERM"])
def test_reap_ends_a_process(ledger: Ledger, start: Start, code: str) -> None:
    """A process that was left running is ended, by force if it must be."""
    process = start(code)
    entry = ledger.created(ledger.intend("process", "engine"), **facts(process))

    assert reap(entry, grace_s=0.2)
    assert is_gone(process.pid)
    assert not reap(entry)


def test_reap_ends_the_whole_group(ledger: Ledger, start: Start) -> None:
    """Children of the process go with it."""
    process = start(STARTS_ANOTHER, SLEEPS)
    (child,) = psutil.Process(process.pid).children()
    entry = ledger.created(ledger.intend("process", "engine"), **facts(process))

    assert reap(entry)
    assert is_gone(process.pid)
    assert is_gone(child.pid)


def test_reap_ends_children_whose_parent_is_gone(ledger: Ledger, start: Start) -> None:
    """Without its leader a group is known by the mark of the run."""
    process = start(STARTS_ANOTHER, SLEEPS, environment=ledger.environment)
    (child,) = psutil.Process(process.pid).children()
    entry = ledger.created(ledger.intend("process", "engine"), **facts(process))
    process.kill()
    process.wait(timeout=5)

    assert reap(entry)
    assert is_gone(child.pid)


def test_reap_leaves_a_process_that_got_the_number_later(ledger: Ledger, start: Start) -> None:
    """An id with another start time is another process."""
    process = start(SLEEPS)
    born = psutil.Process(process.pid).create_time()
    entry = ledger.created(ledger.intend("process", "engine"), pid=process.pid, create_time=born - 100)

    assert not reap(entry)
    assert process.poll() is None


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_reap_removes_a_path(ledger: Ledger, tmp_path: Path, kind: str) -> None:
    """Files, links and whole directories are removed; a second time there is nothing to do."""
    path = tmp_path / "left"
    match kind:
        case "file":
            path.write_text("x")
        case "directory":
            (path / "deep").mkdir(parents=True)
        case _:
            path.symlink_to(tmp_path / "nowhere")
    entry = ledger.intend("path", str(path))

    assert reap(entry)
    assert list(tmp_path.glob("left")) == []
    assert not reap(entry)


def test_reap_refuses_what_it_does_not_know(ledger: Ledger) -> None:
    """A kind that needs other means is an error that names those it can do."""
    with pytest.raises(UnknownName, match="'cluster'; valid: process, path"):
        reap(ledger.intend("cluster", "kind-1"))


def test_strays_are_found_by_the_mark_of_their_run(ledger: Ledger, start: Start) -> None:
    """Whatever inherited the run's variable is found, wherever it went; other runs' processes are not."""
    process = start(STARTS_ANOTHER, SLEEPS, environment=ledger.environment)
    start(SLEEPS, environment={"KVSYNC_RUN": "run-8"})
    child = psutil.Process(process.pid).children()[0]

    found = find_strays("ledger-7")

    assert {each.pid for each in found} == {process.pid, child.pid}
    end(found)
    wait_for(lambda: find_strays("ledger-7") == [], what="no strays", timeout_s=5)


def test_several_may_remove_a_folder_at_the_same_time(tmp_path: Path) -> None:
    """A guardian and a person who cleans up do not hinder each other."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for attempt in range(5):
        folder = tmp_path / f"folder-{attempt}"
        for name in range(40):
            (folder / str(name)).mkdir(parents=True)
            (folder / str(name) / "file").touch()
        entry = ledger.intend("path", str(folder))

        with ThreadPoolExecutor(4) as pool:
            removed = list(pool.map(lambda entry: reap(entry), [entry] * 4))

        assert any(removed)
        assert not folder.exists()
