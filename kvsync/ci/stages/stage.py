"""What a stage is, and how it is run so that its result is a value, whatever happens."""

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from kvsync.ci.box.box import Box
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.attempts import OTHER_CODE, again, unpassed
from kvsync.testing.results.outcome import Checks, Outcome, StageResult, worded
from kvsync.testing.results.paths import from_top
from kvsync.testing.results.verdicts import unproven

LOCAL = "local"
"""The cluster of local processes, made afresh for each test; any other is made once for a run."""


NAMED = 20
"""Variables that a remark names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage may use. `stop` is set when the run is interrupted; a stage then ends soon.

    `environ` is what the processes of its tests get, and `tools` what git, docker and kubectl get, None for
    all that this process has. A later `attempt` is merged into what was found before; it repeats what did
    not pass only if `failed_only`. `other_code` names its code if that is another than the first attempt's.
    Tests that are not `known` (None: all are) are new. `durations_s` are what tests took lately, by which
    those of shards are shared; `elsewhere` are the tests that shards of other runs had at this commit. With
    a `box` its processes are confined. `kept_back` are variables that the tests do not see, to be named
    where they fail. By `ends_at`, on the monotonic clock, the run has taken all the time that it may.
    """

    run_dir: Path
    repository: Path
    ledger: Ledger
    profile: Literal["quick", "full"] = "quick"
    cluster: str = LOCAL
    seed: int = 0
    trace: Path | None = None
    keep: bool = False
    attempt: int = 1
    failed_only: bool = False
    other_code: str = ""
    known: frozenset[str] | None = None
    durations_s: Mapping[str, float] = field(default_factory=dict)
    elsewhere: Mapping[str, frozenset[str]] = field(default_factory=dict)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    tools: Mapping[str, str] | None = field(default=None, repr=False)
    kept_back: tuple[str, ...] = ()
    ends_at: float = math.inf
    box: Box | None = None
    stop: threading.Event


class Stage(Protocol):
    """One step of a pipeline that ends in a verdict."""

    @property
    def name(self) -> str:
        """The name in reports, file names and commands."""

    def run(self, context: StageContext) -> StageResult:
        """Carry the stage out; what the product does wrong is in the result, not raised."""


def seconds_left(context: StageContext, clock: Callable[[], float] = time.monotonic) -> float:
    """Return how long what begins now may take, for the sake of the whole run."""
    return context.ends_at - clock()


def run_safely(
    stage: Stage, context: StageContext, clock: Callable[[], float] = time.monotonic
) -> StageResult:
    """Run a stage: an exception in it is UNKNOWN with its traceback, and so is a run stopped before it.

    The result is in the run's folder before it is returned.
    """
    started_at, started = datetime.now(UTC), clock()
    if context.stop.is_set():
        result = StageResult.unknown(stage.name, "not run: interrupted", started_at=started_at)
    else:
        try:
            result = stage.run(context)
        except Exception as exc:
            result = replace(_broken(stage.name, exc, started_at), duration_s=clock() - started)
    return keep_result(_with_hint(result, context), context, whole=not repeated(stage.name, context))


def _with_hint(result: StageResult, context: StageContext) -> StageResult:
    """Name the variables that tests did not see, where one of them may be why they did not pass."""
    if result.outcome is not Outcome.FAILED or not context.kept_back:
        return result
    more = len(context.kept_back) - NAMED
    names = ", ".join([*context.kept_back[:NAMED], *([f"{more} more"] if more > 0 else [])])
    hint = f"the tests do not see {names}; pass_environment in kvsync-ci.toml lets them"
    return replace(result, remarks=(*result.remarks, hint))


def repeated(stage: str, context: StageContext) -> tuple[str, ...]:
    """Return the tests to which another attempt at a stage is limited; none stands for all."""
    earlier = RunFolder(context.run_dir).result(stage) if context.failed_only else None
    return unpassed(earlier) if earlier else ()


def keep_result(result: StageResult, context: StageContext, *, whole: bool = False) -> StageResult:
    """Keep the result of a stage, or of a `whole` one, merged with earlier attempts; returns what is kept."""
    folder, result = RunFolder(context.run_dir), from_top(result, context.repository)
    earlier = folder.result(result.name) if context.attempt > 1 else None
    if earlier:
        if context.other_code:
            said = {OTHER_CODE: context.other_code}
            checks = Checks(replace(each, properties={**each.properties, **said}) for each in result.checks)
            result = replace(result, checks=checks)
        result = again(earlier, result, whole=whole, same_code=not context.other_code)
    folder.save(result)
    return result


def _broken(name: str, error: Exception, started_at: datetime) -> StageResult:
    verdict = unproven(error)
    if verdict is not None:
        return StageResult.unknown(
            name, f"{worded(verdict.kind)}: {verdict}", started_at=started_at, detail=str(verdict)
        )
    return StageResult.unknown(
        name,
        f"the stage itself broke: {type(error).__name__}: {error}",
        started_at=started_at,
        detail="".join(traceback.format_exception(error)),
    )
