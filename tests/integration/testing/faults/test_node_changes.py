"""What is changed on a node is in the ledger while it may be there; docker is a stand-in."""

from pathlib import Path

import pytest

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.node.changes import Changes
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.rules import NodeChange
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.tools import Tools
from kvsync.testing.results.verdicts import NotRun

DOCKER = """\
#!/bin/sh
cd {folder}
echo "$*" >> calls
grep -c '"event": "intend"' run/ledger.jsonl >> entries
case "$*" in
  *"tc says"*) echo "$5" >&2; exit 2 ;;
  *"-D b"*) echo "iptables: Bad rule (does a matching rule exist in that chain?)." >&2; exit 1 ;;
  *stuck*) echo "resource temporarily unavailable" >&2; exit 4 ;;
esac
"""
A = NodeChange(do=("iptables", "-I", "a"), undo=("iptables", "-D", "a"))
B = NodeChange(do=("iptables", "-I", "b"), undo=("iptables", "-D", "b"))
LACKING = "the kernel or the node is without what this needs: cannot run tc says"
STUCK = NodeChange(do=("tc", "add"), undo=("tc", "stuck"))


class Stage:
    """A node behind a docker that notes its calls, and how many entries the ledger had by then."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.ledger = folder, Ledger(folder / "run" / "ledger.jsonl")
        (folder / "docker").write_text(DOCKER.format(folder=folder))
        (folder / "docker").chmod(0o755)
        self.changes = Changes(Node("n1", Tools(f"{folder}:/usr/bin:/bin")), self.ledger)

    @property
    def calls(self) -> list[str]:
        """What was run on the node."""
        calls = self._folder / "calls"
        return calls.read_text().replace("exec n1 ", "").splitlines() if calls.exists() else []

    @property
    def entries_at_calls(self) -> list[int]:
        """How many entries had been made at each of the calls."""
        return [int(line) for line in (self._folder / "entries").read_text().split()]

    @property
    def undone_by(self) -> list[object]:
        """What the ledger says would have to be run on which node, were this the end."""
        return [(entry.kind, dict(entry.facts)) for entry in leftovers([self.ledger.path])]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A node on which nothing was changed yet."""
    return Stage(tmp_path)


def test_a_change_is_in_the_ledger_before_it_is_made(stage: Stage) -> None:
    """Each has an entry of its own, with the command that undoes it."""
    stage.changes.make("partition of a", [A, B])

    assert stage.calls == ["iptables -I a", "iptables -I b"]
    assert stage.entries_at_calls == [1, 2]
    assert stage.undone_by == [
        ("network-rule", {"node": "n1", "undo": ["iptables", "-D", "b"]}),
        ("network-rule", {"node": "n1", "undo": ["iptables", "-D", "a"]}),
    ]


def test_changes_are_undone_once_and_the_newest_first(stage: Stage) -> None:
    """What was gone already is as good as undone."""
    stage.changes.make("partition of a", [A, B])

    stage.changes.undo()
    stage.changes.undo()

    assert stage.calls[2:] == ["iptables -D b", "iptables -D a"]
    assert stage.undone_by == []


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        pytest.param("Error: Specified qdisc kind is unknown.", NotRun, LACKING, id="tc"),
        pytest.param(
            "iptables v1.8.4 (legacy): Couldn't load match `statistic':No such file or directory",
            NotRun,
            LACKING,
            id="no program for a match",
        ),
        pytest.param(
            "iptables v1.8.7 (legacy): Couldn't load target `REJECT':No such file or directory",
            NotRun,
            LACKING,
            id="no program for a target",
        ),
        pytest.param(
            "Warning: Extension statistic revision 0 not supported, missing kernel module?\n"
            "iptables: No chain/target/match by that name.",
            NotRun,
            LACKING,
            id="no module for a match",
        ),
        pytest.param(
            "iptables v1.8.7 (nf_tables):  RULE_INSERT failed (No such file or directory):"
            " rule in chain INPUT",
            NotRun,
            LACKING,
            id="no module for a rule",
        ),
        pytest.param(
            'OCI runtime exec failed: exec failed: unable to start container process: exec: "nsenter": '
            "executable file not found in $PATH: unknown",
            NotRun,
            LACKING,
            id="no program",
        ),
        pytest.param("Bad argument", ClusterError, "cannot run tc says .* on n1: Bad argument", id="failing"),
    ],
)
def test_when_one_change_fails_none_stays(
    said: str, error: type[Exception], message: str, stage: Stage
) -> None:
    """What the kernel lacks is told from what went wrong."""
    failing = NodeChange(do=("tc", "says", said), undo=("tc", "del"))
    with pytest.raises(error, match=message):
        stage.changes.make("latency of a", [A, failing])

    assert stage.calls[-2:] == ["tc del", "iptables -D a"]
    assert stage.undone_by == []


def test_what_cannot_be_undone_stays_in_the_ledger(stage: Stage) -> None:
    """Somebody else may have more luck later."""
    stage.changes.make("bandwidth of a", [STUCK])

    with pytest.raises(ClusterError, match="cannot undo it in n1: resource temporarily unavailable"):
        stage.changes.undo()

    assert stage.undone_by == [("network-rule", {"node": "n1", "undo": ["tc", "stuck"]})]
