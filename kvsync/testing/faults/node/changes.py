"""What is changed on a node at the moment: in the ledger before it is made, and out of it when it is undone.

The entries are of the kind "network-rule", whatever the change is for: `undo` runs the command of that
name on the node `node`, and an answer that says there is nothing to undo is as good.
"""

import re
from collections.abc import Sequence

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.rules import NodeChange
from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.tools import Tools
from kvsync.testing.results.verdicts import NotRun

_LACKING = re.compile(
    r"qdisc kind is unknown|couldn't load (match|target)|not supported"
    r"|RULE_\w+ failed|executable file not found",
    re.IGNORECASE,
)
"""What tc, iptables, nsenter and docker say when kernel or node are without what a command needs."""

_UNDONE = re.compile(
    r"no such container|is not running|no such file|no such process|does a matching rule exist"
    r"|no chain/target/match|cannot find device|handle of zero|invalid handle",
    re.IGNORECASE,
)
"""What docker, nsenter, iptables and tc say when there is nothing to undo."""

ANSWER_S = 15.0
"""For an answer of the node's."""


class Changes:
    """The changes of one fault on one node."""

    def __init__(self, node: Node, ledger: Ledger) -> None:
        self._node, self._ledger = node, ledger
        self._entries: list[LedgerEntry] = []

    def make(self, name: str, changes: Sequence[NodeChange]) -> None:
        """Make all of them or, when one fails, none.

        Raises NotRun when the node lacks what a change needs, and ClusterError when it fails otherwise.
        """
        try:
            for change in changes:
                self._make(name, change)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Undo them, the newest first. Raises ClusterError; what is not undone then stays in the ledger."""
        while self._entries:
            undo(self._entries[-1], self._node.tools)
            self._ledger.released(self._entries.pop())

    def _make(self, name: str, change: NodeChange) -> None:
        facts = {"node": self._node.name, "undo": change.undo}
        self._entries.append(self._ledger.intend("network-rule", name, **facts))
        try:
            self._node.run(*change.do)
        except ClusterError as exc:
            if _LACKING.search(str(exc)):
                raise NotRun(f"the kernel or the node is without what this needs: {exc}") from exc
            raise


def undo(entry: LedgerEntry, tools: Tools) -> bool:
    """Undo one change; False when there was nothing to undo. Raises ClusterError."""
    match entry.facts:
        case {"node": str(node), "undo": [*words]}:
            answer = tools.ask("docker", "exec", node, *map(str, words), timeout_s=ANSWER_S)
        case _:
            raise ClusterError(f"the ledger does not say how to undo it: {dict(entry.facts)}")
    if not answer.ok and not _UNDONE.search(answer.errors + answer.output):
        raise ClusterError(f"cannot undo it in {node}: {answer.reason}")
    return answer.ok
