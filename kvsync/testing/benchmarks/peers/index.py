"""Rows that an index plays: a process each, in the interpreter that has it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvsync.testing.benchmarks.peers import player
from kvsync.testing.benchmarks.peers.table import Installed
from kvsync.testing.benchmarks.peers.turns import Figures
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run
from kvsync.testing.results.verdicts import NotRun

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """A row of `player`, with the conditions it takes."""

    row: str
    conditions: Mapping[str, int | str]
    seed: int
    log: Path
    ledger: Ledger

    def ours(self, core: str) -> Figures:
        """Play it ourselves, with one of our cores. Raises AssertionError with a failure's last words."""
        return self._play("kvsync", Path(sys.executable), {"KVSYNC_CORE": core})

    def theirs(self, peer: Installed) -> Figures:
        """Let a peer play it. Raises as above, and NotRun where its version lacks what is needed."""
        return self._play(peer.name, peer.program, {})

    def _play(self, name: str, python: Path, env: Mapping[str, str]) -> Figures:
        words = [f"{key}={value}" for key, value in {"seed": self.seed, **self.conditions}.items()]
        result = run(
            [str(python), player.__file__, name, self.row, *words],
            log=self.log,
            timeout_s=TIMEOUT_S,
            ledger=self.ledger,
            env=env,
        )
        assert result.exit_code == 0, f"{name} ended with {result.ending}: {result.tail}"
        said = json.loads(result.tail.splitlines()[-1])
        if "lacks" in said:
            raise NotRun(f"this version of {name} is of no use: {said['lacks']}; install another one")
        return {figure: float(value) for figure, value in said.items()}
