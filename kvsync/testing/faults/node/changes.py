"""What is changed on a node at the moment: in the ledger before it is made, and out of it when it is undone.

The entries are of the kind "network-rule", whoever the change is for: the reaper runs the command in
`undo` on the node `node`, and an answer that says there is nothing to undo is as good.
"""

import re
from collections.abc import Sequence

from kvsync.ci.cleaning.reapers import reap
from kvsync.errors import ClusterError
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.rules import Change
from kvsync.testing.processes.ledger import Entry, Ledger
from kvsync.testing.results.verdicts import NotRun

_LACKING = re.compile(
    r"qdisc kind is unknown|couldn't load (match|target)|not supported"
    r"|RULE_\w+ failed|executable file not found",
    re.IGNORECASE,
)
"""What tc, iptables, nsenter and docker say when kernel or node are without what a command needs."""


class Changes:
    """The changes of one fault on one node."""

    def __init__(self, node: Node, ledger: Ledger) -> None:
        self._node, self._ledger = node, ledger
        self._entries: list[Entry] = []

    def make(self, name: str, changes: Sequence[Change]) -> None:
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
            reap(self._entries[-1], self._node.tools)
            self._ledger.released(self._entries.pop())

    def _make(self, name: str, change: Change) -> None:
        facts = {"node": self._node.name, "undo": change.undo}
        self._entries.append(self._ledger.intend("network-rule", name, **facts))
        try:
            self._node.run(*change.do)
        except ClusterError as exc:
            if _LACKING.search(str(exc)):
                raise NotRun(f"the kernel or the node is without what this needs: {exc}") from exc
            raise
