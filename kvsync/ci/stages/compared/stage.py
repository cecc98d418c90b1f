"""A benchmark stage that is compared with the commit at which the tested code left its base.

- It is measured once, for trends; then in turns with the base, and what is slower in a second batch, too.
- The base has a folder and an environment of its own, made by its own `prepare`; all of it is in the ledger
  before it is there, and gone when the stage ends.
- Code that changes nothing since its base, such as a commit of the base's own branch, is only measured; in
  full runs it is compared with a copy of it, many times, which says what comparisons are worth here.
"""

import json
import random
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from kvsync.ci.paired.calibration import calibrated
from kvsync.ci.paired.judgement import PairedLimits, PairedMetric
from kvsync.ci.paired.trial import Side, check_out, compared, cpu_s, cpu_since
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.found_stages import Compare
from kvsync.ci.project.reading import read_project
from kvsync.ci.project.relations import filled
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.compared.checks import PairedComparison, able_to_gate
from kvsync.ci.stages.covered import with_checks
from kvsync.ci.stages.prepare import PrepareStage
from kvsync.ci.stages.result_files import keep_measurements
from kvsync.ci.stages.stage import StageContext
from kvsync.errors import ConfigError, KVSyncError
from kvsync.testing.processes.scratch import remove
from kvsync.testing.results.measurement import Measurement, read_measurements
from kvsync.testing.results.outcome import Check, Outcome, StageResult
from kvsync.testing.results.verdicts import NotRun
from kvsync.testing.results.whole import write_whole

FOLDER = "compared"
"""Where the base and what is measured lies, in the folder of a run, while a stage compares."""

COMPARED = "compared with its base"
"""The check that there is for a stage that could not be compared."""


class NotCompared(KVSyncError):
    """Why nothing can be said of the two versions."""


@dataclass(frozen=True, slots=True)
class ComparedStage:
    """Runs `inner`, and compares what it measures as `compare` says, all of it within its time.

    Only code that the pipeline's owner trusts has a base that can be prepared.
    """

    name: str
    inner: CommandStage
    compare: Compare

    def run(self, context: StageContext) -> StageResult:
        """See Stage."""
        if context.box is not None:
            raise NotRun(
                "in a box its base has neither a folder nor a network; let a run compare it that has none"
            )
        began = time.monotonic()
        scratch = context.run_dir / FOLDER / self.name
        entry = context.ledger.intend("path", str(scratch))
        try:
            result = self._run(context, scratch, began + self.inner.timeout_s)
            return replace(result, duration_s=time.monotonic() - began)
        finally:
            remove(scratch)
            context.ledger.released(entry)

    def _run(self, context: StageContext, scratch: Path, ends_at: float) -> StageResult:
        self._make_ready(context, scratch / "ready", context.repository, self.compare.prepare, ends_at)
        result, folder = self.inner.run(context), RunFolder(context.run_dir)
        if result.outcome is not Outcome.PASSED or context.stop.is_set():
            return result
        if not folder.changes.exists():
            why = "where the tested code left its base is not known; fetch the base, and more commits of both"
            return _undecided(result, why)
        if not folder.changes.stat().st_size or not folder.base.exists():
            return self._with_itself(result, context, scratch, ends_at)
        try:
            return self._compared(result, context, folder.base.read_text(), scratch, ends_at)
        except (NotCompared, NotRun, ConfigError) as error:
            return _undecided(result, str(error))

    def _compared(
        self, result: StageResult, context: StageContext, base: str, scratch: Path, ends_at: float
    ) -> StageResult:
        tree = scratch / "base"
        check_out(context.repository, base, tree)
        if self.name not in stages_of(read_project(tree)):
            return _remarked(result, f"the stage is new: at {base[:12]} there is none of this name")
        made = self._made(tree)
        self._make_ready(context, scratch / "base-ready", tree, made, ends_at)
        found, alone = self._judged(context, tree, scratch, ends_at)
        comparison = PairedComparison(
            base=base,
            pairs=self.compare.pairs,
            limits=self._limits,
            is_shown_only=self.compare.inconclusive == "shown",
            again=self._again(base, made),
            metrics=found,
            alone=alone,
            asked=self.compare.measures,
        )
        self._keep(context, comparison)
        return _remarked(with_checks(result, comparison.checks()), *comparison.remarks())

    def _with_itself(
        self, result: StageResult, context: StageContext, scratch: Path, ends_at: float
    ) -> StageResult:
        """Compare two copies of what is checked out as often as the time allows; keep what that showed."""
        if context.profile != "full" or not self.compare.trials:
            return _remarked(result, "nothing is changed: it is only measured")
        trials, tree = [], scratch / "base"
        try:
            check_out(context.repository, "HEAD", tree)
            self._make_ready(context, scratch / "base-ready", tree, self._made(tree), ends_at)
            for number in range(self.compare.trials):
                again = replace(context, seed=context.seed + number)
                trials.append(self._judged(again, tree, scratch / f"trial-{number}", ends_at)[0])
        except (NotCompared, NotRun, ConfigError) as error:
            if not trials:
                return _remarked(result, f"not compared with itself: {error}")
        found = calibrated(trials)
        keep_measurements(context.run_dir, [each for one in found for each in one.measurements()])
        blind = [f"unable to gate: {each.name}: {each}" for each in found if not each.can_gate(self._limits)]
        checks = [able_to_gate(each, self._limits) for each in found]
        return _remarked(with_checks(result, checks), *blind)

    def _made(self, tree: Path) -> list[tuple[str, ...]]:
        """Return the commands that make a version ready: its own, and what is needed to compare it."""
        return [*read_project(tree).project.prepare, *self.compare.prepare]

    @property
    def _limits(self) -> PairedLimits:
        return PairedLimits(floor=self.compare.floor / 100, seen=self.compare.seen / 100)

    def _judged(
        self, context: StageContext, tree: Path, scratch: Path, ends_at: float
    ) -> tuple[list[PairedMetric], dict[str, Side]]:
        rng = random.Random(context.seed)  # noqa: S311 - an order, not a secret
        measure = partial(self._measure, context, tree, scratch, ends_at)
        return compared(measure, self.compare.pairs, rng, self._limits, self._is_asked)

    def _make_ready(
        self,
        context: StageContext,
        run_dir: Path,
        folder: Path,
        commands: Sequence[Sequence[str]],
        ends_at: float,
    ) -> None:
        """Make a folder ready by commands. Raises NotRun with why one of them fails."""
        if not commands:
            return
        values = self.inner.values_in(context)
        words = [[filled(word, values) for word in command] for command in commands]
        stage = PrepareStage(words, ends_at - time.monotonic())
        # With a folder of its own: the run's says what the project's own `prepare` made.
        done = stage.run(replace(context, repository=folder, run_dir=run_dir))
        log = Path("logs", f"{self.name}-ready.log")
        (context.run_dir / log.parent).mkdir(exist_ok=True)
        with (context.run_dir / log).open("ab") as kept:
            kept.write((run_dir / (done.log or "")).read_bytes())
        if done.outcome is not Outcome.PASSED:
            which = "it" if folder == context.repository else "its base"
            raise NotRun(f"{which} could not be made ready: {done.reason} ({log} has all it said)")

    def _measure(
        self,
        context: StageContext,
        tree: Path,
        scratch: Path,
        ends_at: float,
        batch: int,
        is_head: bool,
        pair: int,
    ) -> list[Measurement]:
        """Measure one version once. Raises NotCompared with why that cannot be, or is too late."""
        which = "the tested code" if is_head else "its base"
        left_s = ends_at - time.monotonic()
        if context.stop.is_set() or left_s <= 0:
            said = "interrupted" if context.stop.is_set() else "the time of the stage is over"
            raise NotCompared(f"{said} in batch {batch}, at pair {pair + 1} of {self.compare.pairs}")
        folder = scratch / f"{batch}-{pair}-{'head' if is_head else 'base'}"
        there = replace(
            context, run_dir=folder, repository=context.repository if is_head else tree, attempt=1
        )
        before = cpu_s()
        result = replace(self.inner, timeout_s=left_s).run(there)
        used = [cpu_since(before)] if self.compare.cpu else []
        if result.outcome is not Outcome.PASSED:
            raise NotCompared(f"{which} could not be measured: {result.reason}")
        return [*used, *read_measurements(folder / "benchmark.json")]

    def _is_asked(self, measure: str) -> bool:
        wanted = self.compare.measures
        return not wanted or any(fnmatchcase(measure, each) for each in wanted)

    def _keep(self, context: StageContext, comparison: PairedComparison) -> None:
        """Keep every value, for whoever wants to look closer."""
        target = context.run_dir / "evidence" / self.name / "compared.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        metrics = [asdict(each) for each in comparison.metrics]
        write_whole(target, json.dumps({"base": comparison.base, "metrics": metrics}, indent=1))

    def _again(self, base: str, made: Sequence[Sequence[str]]) -> str:
        """Return the command that compares the files at hand with the base."""
        ready = " && ".join(map(shlex.join, made))
        words = ["kvsync-ci", "ab", base[:12]]
        words += ["--prepare", shlex.join(["sh", "-c", ready])] if ready else []
        words += ["--format", self.inner.format_name] if self.inner.format_name else []
        words += [] if list(self.inner.results) == ["{output}"] else ["--results", self.inner.results[0]]
        words += ["--cpu"] if self.compare.cpu else []
        given = [f"{name}={value}" for name, value in self.inner.environment.items()]
        words += ["--", *(["env", *given] if given else []), *self.inner.argv]
        return shlex.join(words).replace("'{python}'", "python").replace("{python}", "python")


def _remarked(result: StageResult, *remarks: str) -> StageResult:
    return replace(result, remarks=(*result.remarks, *remarks))


def _undecided(result: StageResult, why: str) -> StageResult:
    return with_checks(result, [Check(name=COMPARED, kind="not-run", detail=why)])
