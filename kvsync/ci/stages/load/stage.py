"""A stage that offers requests to a service, and judges thresholds by what came back.

Requests are sent by a process of their own (kvsync.testing.load.generator), which does not wait for answers.
What it wrote down until a time limit, an interruption or its death is read all the same.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.stages.command_stage import free_label
from kvsync.ci.stages.load.results import keep_load
from kvsync.ci.stages.load.setup import require_network, set_up, tell
from kvsync.ci.stages.load.stream import asked_of, stream_of
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.load.generator import Generator
from kvsync.testing.load.http.judgement import OfferedRequests, ends_of, judged
from kvsync.testing.load.http.stream import HttpStream
from kvsync.testing.load.http.tally import tallied
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.processes.program import ProgramEnded
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import StageResult, merge
from kvsync.testing.results.verdicts import NotRun

MOST_RECORDS = 100_000
"""Requests that `requests.jsonl` has one by one, of those served and of those that fail: 25 MB each."""

SUMMED = (
    f"requests.jsonl has the first {MOST_RECORDS:,} requests that were served, and that failed, one by one; "
    "the others are in it as sums, so that all of them are judged"
)

_TURN_S = 0.2
_LAST_ANSWERS_S = 2.0
"""For answers that are still to come when a stage is ended from outside."""


@dataclass(frozen=True, slots=True)
class LoadStage:
    """Offers the requests of `table` within `timeout_s`; `values` are what its words may name in braces."""

    name: str
    table: LoadStageTable
    timeout_s: float
    values: Mapping[str, str] = field(default_factory=dict)

    def run(self, context: StageContext) -> StageResult:
        """Send the requests; what was measured is in the run's `evidence/<stage>/`, the log in `logs/`."""
        require_network(context)
        started, started_at = time.monotonic(), datetime.now(UTC)
        label = free_label(context.run_dir, self.name)
        thresholds, left_out = asked_of(self.table, context.profile)
        stream = stream_of(
            self.table, self._values(context), context.repository, context.profile, context.seed
        )
        if not stream.phases:
            raise NotRun(f"none of its phases is for the profile {context.profile!r}")
        self._require_time(stream)
        tell(context, self.name, thresholds)
        set_up(context, self.table, self._values(context), label, self.timeout_s)
        offered = self._offer(context, stream, label, started)
        result = self._result(context, offered, thresholds, label, started_at)
        return replace(
            result,
            log=f"logs/{label}.log",
            duration_s=time.monotonic() - started,
            remarks=(*result.remarks, *left_out, *([SUMMED] if _is_summed(offered) else [])),
        )

    def _values(self, context: StageContext) -> dict[str, str]:
        return {**self.values, "profile": context.profile, "seed": str(context.seed)}

    def _require_time(self, stream: HttpStream) -> None:
        needs_s = sum(each.seconds for each in stream.phases)
        if needs_s >= self.timeout_s:
            raise NotRun(
                f"its phases take {needs_s:.0f} s, and it may take {self.timeout_s:.0f} s: the owner of the "
                "pipeline may allow more by stages.longest_s"
            )

    def _offer(
        self, context: StageContext, stream: HttpStream, label: str, started: float
    ) -> OfferedRequests:
        """Send all requests, or what there is time for; return what came of them."""
        history = context.run_dir / "evidence" / label / "requests.jsonl"
        stream = replace(stream, most_records=MOST_RECORDS)
        generator = Generator([stream], run_dir=context.run_dir, name=label, test=self.name, history=history)
        why = ""
        try:
            with generator:
                while generator.is_running and not why:
                    generator.await_end(_TURN_S)
                    if context.stop.is_set():
                        why = "the run was interrupted"
                    elif time.monotonic() - started > self.timeout_s:
                        why = f"the stage reached its time limit after {self.timeout_s:.0f} s"
                if why:
                    generator.hurry(_LAST_ANSWERS_S)
        except ProgramEnded as exc:
            why = f"what sends the requests broke: {exc}"
        records = [each for each in read_lines(history) if each["f"] == "phase"]
        return OfferedRequests(
            phases=stream.phases, tallies=tallied(read_lines(history)), ends=ends_of(records), why=why
        )

    def _result(
        self,
        context: StageContext,
        offered: OfferedRequests,
        thresholds: Sequence[Threshold],
        label: str,
        started_at: datetime,
    ) -> StageResult:
        checks = judged(offered, thresholds)
        keep_load(self.name, context.run_dir / "evidence" / label, offered, thresholds, checks)
        result = merge(self.name, checks, started_at=started_at)
        return result.doubted(offered.why) if offered.why else result


def _is_summed(offered: OfferedRequests) -> bool:
    every = offered.tallies.values()
    return max(sum(each.served.count for each in every), sum(each.failed for each in every)) > MOST_RECORDS
