"""What bubblewrap is told, as values."""

from pathlib import Path
from typing import Literal

import pytest

from kvsync.ci.box.box import Box, BoxLimits, View, accounts, arguments, box_for, command, namespaces
from kvsync.ci.settings import BoxSettings

RUN = Path("/srv/reports/7")

FORK = View(
    workspace=RUN / "workspace",
    run_dir=RUN,
    outbox=RUN / "box-unit" / "outbox",
    accounts=RUN / "box-unit",
    readable=(Path("/opt/venv"),),
    inputs=(RUN / "history" / "unit-2-only.json",),
)

HERE = View(
    workspace=Path("/home/ci/kvsync"),
    run_dir=Path("/home/ci/kvsync/reports/7"),
    outbox=Path("/home/ci/kvsync/reports/7/box-unit/outbox"),
    accounts=Path("/home/ci/kvsync/reports/7/box-unit"),
    hidden=(Path("/home/ci/kvsync/reports"),),
)


def mounts(view: View) -> list[tuple[str, ...]]:
    """Return what is mounted, in its order: how, from where, and to where."""
    words = arguments(view, BoxLimits())
    found: list[tuple[str, ...]] = []
    for at, word in enumerate(words):
        if word in ("--bind", "--ro-bind"):
            found.append((word, words[at + 1], words[at + 2]))
        elif word in ("--tmpfs", "--remount-ro"):
            found.append((word, words[at + 1]))
    return found


def test_a_fork_writes_where_its_run_would_be_and_into_its_files() -> None:
    """What is in the run's folder is not there; instead there is its outbox, and in it the commit's files."""
    found = mounts(FORK)

    written = [each for each in found if each[0] == "--bind"]
    assert written == [
        ("--bind", "/srv/reports/7/box-unit/outbox", "/srv/reports/7"),
        ("--bind", "/srv/reports/7/workspace", "/srv/reports/7/workspace"),
    ]
    selection = "/srv/reports/7/history/unit-2-only.json"
    assert found.index(("--ro-bind", selection, selection)) > found.index(written[-1])


def test_files_that_lie_here_are_read_only_and_the_reports_among_them_hidden() -> None:
    """The one folder below them that is written to is the outbox."""
    found = mounts(HERE)

    order = [
        ("--ro-bind", "/home/ci/kvsync", "/home/ci/kvsync"),
        ("--tmpfs", "/home/ci/kvsync/reports"),
        ("--bind", "/home/ci/kvsync/reports/7/box-unit/outbox", "/home/ci/kvsync/reports/7"),
    ]
    assert sorted(order, key=found.index) == order
    assert [each for each in found if each[0] == "--bind"] == order[-1:]
    assert ("--remount-ro", "/home/ci/kvsync/reports") in found


@pytest.mark.parametrize("view", [FORK, HERE], ids=["fork", "here"])
def test_every_file_system_in_memory_is_bounded_or_read_only(view: View) -> None:
    """Also those that bubblewrap makes for what it mounts on: / and /dev."""
    words = arguments(view, BoxLimits(temporary=77))

    for path in (words[at + 1] for at, word in enumerate(words) if word == "--tmpfs"):
        at = words.index(path, words.index("--tmpfs"))
        assert words[at - 3 : at - 1] == ["--size", "77"] or ("--remount-ro", path) in mounts(view)
    assert {("--remount-ro", "/"), ("--remount-ro", "/dev")} < set(mounts(view))


def test_the_machine_shows_nothing_but_system_files() -> None:
    """No home, no /etc as a whole, no /var, no /run, no /sys; names of users are the box's own."""
    words = arguments(FORK, BoxLimits())
    shown = {words[at + 2] for at, word in enumerate(words) if word in ("--ro-bind", "--ro-bind-try")}

    assert {path for path in shown if not path.startswith("/etc")} == {
        *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt/venv", str(FORK.inputs[0])),
    }
    assert {Path(path).name for path in shown if path.startswith("/etc")} == {
        *("alternatives", "fonts", "ssl", "ld.so.cache", "localtime", "mime.types", "nsswitch.conf"),
        *("passwd", "group", "hosts"),
    }


@pytest.mark.parametrize("user", [None, 61184], ids=["user", "root"])
def test_it_has_namespaces_of_its_own_and_ends_with_us(user: int | None) -> None:
    """For root the one of users is made inside, since it becomes somebody else first."""
    words = namespaces(user)

    assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent"} < {
        *words
    }
    assert ("--unshare-user" in words) is (user is None)
    kept = [words[at + 1] for at, word in enumerate(words) if word == "--cap-add"]
    assert kept == ([] if user is None else ["CAP_SETUID", "CAP_SETGID"])


def test_the_command_is_the_last_of_what_is_told() -> None:
    """It is an argument list: no shell reads it."""
    words = command(["pytest", "a b; c"], FORK, BoxLimits(), Path("/run/info"))

    assert words[-2:] == ["pytest", "a b; c"]
    assert words[4:9] == ["/run/info", "bwrap", "--as-pid-1", "--info-fd", "9"]


def test_names_of_users_are_no_file_of_the_machine() -> None:
    """The user has a name and a home, which is the temporary folder."""
    assert "box:x:1000:1000::/tmp:/bin/sh\n" in accounts(1000)["passwd"]


@pytest.mark.parametrize(
    ("use", "confined"),
    [
        ("untrusted", ["fork"]),
        ("pull-requests", ["fork", "pull request"]),
        ("always", ["fork", "pull request", "branch"]),
    ],
)
def test_a_fork_is_confined_whatever_is_set(
    use: Literal["untrusted", "pull-requests", "always"], confined: list[str]
) -> None:
    """Settings decide about the others."""
    settings = BoxSettings(use=use, memory=5)
    kinds = {"fork": (False, True), "pull request": (True, True), "branch": (True, False)}

    boxes = {
        name: box_for(settings, trusted=trusted, pull_request=asked, roots=False)
        for name, (trusted, asked) in kinds.items()
    }

    assert [name for name, box in boxes.items() if box] == confined
    assert boxes["fork"] == Box(limits=BoxLimits(memory=5))


@pytest.mark.parametrize("kind", ["bubblewrap", "container"])
def test_where_tests_would_be_roots_every_commit_is_confined(
    kind: Literal["bubblewrap", "container"],
) -> None:
    """Root hides nothing from them; but a container is a box even then."""
    settings = BoxSettings(use="untrusted", kind=kind)

    box = box_for(settings, trusted=True, pull_request=False, roots=True)

    assert (box is None) is (kind == "container")


def test_a_container_that_is_made_for_a_run_is_its_box() -> None:
    """In there bubblewrap would not be allowed to make another."""
    assert box_for(BoxSettings(kind="container"), trusted=False, pull_request=True, roots=False) is None
